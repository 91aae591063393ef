FROM localhost/busybox:base
COPY ignored.txt /x
