FROM localhost/busybox:base
COPY --from=localhost/there-is-no-such-image:ever /a /x
