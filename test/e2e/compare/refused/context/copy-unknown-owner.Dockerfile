FROM localhost/busybox:base
COPY --chown=nobodyknows a.txt /x
