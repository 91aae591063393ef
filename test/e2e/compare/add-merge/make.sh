T="tar --sort=name --mtime=@1577934245 --numeric-owner --format=pax"
mkdir -p o/real o/doomed/new
echo 'new kept' > o/real/kept
echo new > o/doomed/new/file
echo file > o/file
chown 33:34 o/file; chmod 600 o/file
$T -C o -cf over.tar real doomed file
mkdir -p l/a; echo x > l/a/x; ln -s a l/b
name=$(printf 'l%.0s' $(seq 1 150))
echo long > "l/a/$name"
$T -C l -cf links.tar a b
$T --owner=3000000 --group=4000000 -C l -rf links.tar --transform 's,^,big/,' a/x
: > nothing
tar -cf - -T nothing | gzip -n > empty.tar.gz
cp links.tar 'with space.tar'
chown 5:6 l/a/x
$T -C l -cf owned.tar a
rm -rf o l nothing
