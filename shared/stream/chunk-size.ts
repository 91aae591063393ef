// The sizes every stream here works with, in one place.

/** What a chunk should be: 1 MiB was the fastest for hashing, files and sockets (64 KiB costs a third of the throughput). */
export const chunkSize = 1024 * 1024;
