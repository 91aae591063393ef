FROM localhost/busybox:base
RUN exit 7
