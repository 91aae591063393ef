FROM localhost/busybox:base
ONBUILD FROM x
