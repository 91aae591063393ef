FROM localhost/busybox:base
COPY . /context
