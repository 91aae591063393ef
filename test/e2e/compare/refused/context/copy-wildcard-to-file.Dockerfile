FROM localhost/busybox:base
COPY *.txt /etc/target
