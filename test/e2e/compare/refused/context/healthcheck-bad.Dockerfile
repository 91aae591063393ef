FROM localhost/busybox:base
HEALTHCHECK --interval=abc CMD true
