for d in node_modules pkg/node_modules other/x; do
  mkdir -p $d/wanted $d/unwanted
  echo 1 > $d/wanted/f
  echo 2 > $d/unwanted/f
  echo 3 > $d/f
done
