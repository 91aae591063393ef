FROM localhost/busybox:base
RUN ["/no/such/program"]
