mkdir -p r/bin r/etc r/tmp r/dev; cp /bin/busybox r/bin/busybox; ln r/bin/busybox r/bin/sh; chmod 1777 r/tmp; echo root:x:0:0::/:/bin/sh > r/etc/passwd
chown 9:10 r/etc/passwd
tar --sort=name --mtime=@1577934245 --numeric-owner -C r -cJf rootfs.tar.xz .
rm -rf r
echo a > a.txt
