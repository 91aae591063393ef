FROM localhost/busybox:base
ARG SERVER
ADD $SERVER/not-there /x
