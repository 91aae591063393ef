FROM localhost/there-is-no-such-image:ever
RUN true
