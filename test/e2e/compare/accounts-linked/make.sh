mkdir -p tree/usr/etc tree/etc
printf 'root:x:0:0::/root:/bin/sh\nlater:x:2000:2001::/home/later:/bin/sh\n' > tree/usr/etc/accounts
printf 'root:x:0:\nlater:x:2001:\ngang:x:2002:later\n' > tree/usr/etc/groups
ln -s ../usr/etc/accounts tree/etc/passwd
ln -s /usr/etc/groups tree/etc/group
