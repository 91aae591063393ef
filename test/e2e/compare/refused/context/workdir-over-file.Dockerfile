FROM localhost/busybox:base
WORKDIR /etc/passwd
RUN true
