FROM localhost/busybox:base
RUN --nosuchflag=1 true
