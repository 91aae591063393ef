FROM localhost/busybox:base
USER nobodyknows
RUN true
