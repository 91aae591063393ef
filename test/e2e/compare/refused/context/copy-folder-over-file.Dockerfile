FROM localhost/busybox:base
COPY folder /etc/passwd
