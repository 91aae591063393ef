FROM localhost/busybox:base
COPY nothing /x
