mkdir -p t/sub/empty
echo one > t/one; chmod 640 t/one; chown 1000:50 t/one
echo two > t/sub/two; chmod 4755 t/sub/two
ln t/one t/hard
ln -s one t/soft
ln -s /etc/passwd t/absolute
mkfifo t/fifo
mknod t/device c 1 5
chmod 1770 t/sub/empty; chown 7:8 t/sub/empty
T="tar --sort=name --mtime=@1577934245 --numeric-owner -C t -cf"
$T plain.tar .
$T gz.tar.gz -z one sub
$T bz2.tar.bz2 -j .
$T xz.tar.xz -J .
cp gz.tar.gz misnamed.txt
echo 'not an archive' > not-an-archive.tar
echo 'not an archive' > not-an-archive.tar.gz
echo 'only text' > text; gzip -n < text > just-gzip.gz
printf 'PK\003\004 not really' > archive.zip
mkdir folder-with-archive; cp plain.tar folder-with-archive/
rm -rf t
