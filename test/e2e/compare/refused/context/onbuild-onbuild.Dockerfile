FROM localhost/busybox:base
ONBUILD ONBUILD RUN true
