FROM localhost/busybox:base
COPY nothing*.here /x/
