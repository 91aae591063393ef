mkdir t; echo one > t/one; mkdir t/sub; echo two > t/sub/two
tar --sort=name --mtime=@1577934245 --numeric-owner -C t -cf plain.tar .
zstd -q plain.tar -o zst.tar.zst
rm -rf t
