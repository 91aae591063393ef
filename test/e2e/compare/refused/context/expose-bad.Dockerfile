FROM localhost/busybox:base
EXPOSE what/ever
