FROM localhost/busybox:base
ENV
