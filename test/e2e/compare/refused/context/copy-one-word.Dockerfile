FROM localhost/busybox:base
COPY a.txt
