FROM localhost/busybox:base
COPY --nosuchflag a.txt /
