FROM localhost/busybox:base
RUN echo 'echo no first line' > /script && chmod 755 /script
RUN ["/script"]
