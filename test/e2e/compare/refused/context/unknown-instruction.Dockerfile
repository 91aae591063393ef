FROM localhost/busybox:base
COPYY a.txt /x
