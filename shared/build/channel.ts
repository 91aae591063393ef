// A queue of events between a build and the one who follows it. A slow follower slows the build's output down rather than filling
// memory; one that goes away is not waited for.
const highWater = 128;

export class Channel<T> {
  #queue: T[] = [];
  #ended = false;
  #abandoned = false;
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;
  #room: Promise<void> | undefined;

  /** Resolves when there is room for more: at once, mostly. */
  push(item: T): void | Promise<void> {
    if (this.#abandoned || this.#ended) return;
    this.#queue.push(item);
    this.#wakeReader?.();
    if (this.#queue.length < highWater) return;
    this.#room ??= new Promise((resolve) => {
      this.#wakeWriter = resolve;
    });
    return this.#room;
  }

  end(): void {
    this.#ended = true;
    this.#wakeReader?.();
  }

  /** One reader. */
  async *read(): AsyncGenerator<T> {
    try {
      for (;;) {
        while (this.#queue.length > 0) {
          const batch = this.#queue;
          this.#queue = [];
          this.#makeRoom();
          yield* batch;
        }
        if (this.#ended) return;
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
        this.#wakeReader = undefined;
      }
    } finally {
      this.#abandoned = true;
      this.#queue = [];
      this.#makeRoom();
    }
  }

  #makeRoom(): void {
    this.#wakeWriter?.();
    this.#wakeWriter = undefined;
    this.#room = undefined;
  }
}
