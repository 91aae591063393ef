FROM localhost/busybox:base
ADD $NOTHING/x /x/
COPY folder/missing /y
