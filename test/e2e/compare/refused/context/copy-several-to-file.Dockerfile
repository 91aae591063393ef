FROM localhost/busybox:base
COPY a.txt b.txt /target
