mkdir modes
for m in setuid:4755 setgid:2755 both:6711 none:0000 read:0444 write:0222 exec:0111 all:0777; do
  echo "$m" > "modes/${m%:*}"
  chmod "${m#*:}" "modes/${m%:*}"
done
mkdir modes/sealed modes/open modes/shared
echo in > modes/sealed/in
chmod 0700 modes/sealed
chmod 1777 modes/open
chmod 2775 modes/shared
chown 1234:5678 modes/all
