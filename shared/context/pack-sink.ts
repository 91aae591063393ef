// Contents that come one after the other and are kept at once: small ones in packs, large ones as blobs of their own. So an archive of any
// size becomes a context of a project in the memory of one pack, and without a folder.
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Body, Entry } from '../layer/entry.ts';
import { type Digest, sha256 } from '../oci/digest.ts';
import type { Blobs, Bytes, Options } from '../store/blobs.ts';
import type { Bodies } from './bodies.ts';
import type { ContextStore } from './context-store.ts';
import { encodePack, maxPackBodies, maxPackedBody, packBytes } from './pack.ts';

/** Takes contents in, and gives them back once all have come. */
export interface BodySink extends Bodies {
  write(bytes: Bytes): Promise<{ readonly digest: Digest }>;
  /** All contents have come: those of `entries` can be read from now on. */
  finish(entries: readonly Entry[]): Promise<void>;
}

export class PackSink implements BodySink {
  readonly #store: ContextStore;
  readonly #blobs: Blobs;
  readonly #options: Options;
  readonly #known = new Set<Digest>();
  #waiting: { readonly digest: Digest; readonly bytes: Uint8Array }[] = [];
  #bytes = 0;
  #bodies: Bodies | undefined;

  constructor(parts: { readonly store: ContextStore; readonly blobs: Blobs }, options: Options = {}) {
    this.#store = parts.store;
    this.#blobs = parts.blobs;
    this.#options = options;
  }

  async write(source: Bytes): Promise<{ readonly digest: Digest }> {
    const iterator = source[Symbol.asyncIterator]();
    const start: Uint8Array[] = [];
    let size = 0;
    let ended = false;
    try {
      while (size <= maxPackedBody) {
        throwIfCancelled(this.#options.signal);
        const next = await iterator.next();
        if (next.done) {
          ended = true;
          break;
        }
        // The archive's reader may use the bytes again.
        start.push(Uint8Array.from(next.value));
        size += next.value.length;
      }
      if (!ended) return await this.#large(start, iterator);
    } finally {
      if (!ended) await iterator.return?.();
    }
    return await this.#small(Buffer.concat(start));
  }

  async #small(bytes: Uint8Array): Promise<{ readonly digest: Digest }> {
    const digest = sha256(bytes);
    if (this.#known.has(digest) || bytes.length === 0) return { digest };
    this.#known.add(digest);
    this.#waiting.push({ digest, bytes });
    this.#bytes += bytes.length;
    if (this.#bytes >= packBytes || this.#waiting.length >= maxPackBodies) await this.#flush();
    return { digest };
  }

  async #large(start: readonly Uint8Array[], rest: AsyncIterator<Uint8Array>): Promise<{ readonly digest: Digest }> {
    async function* whole(): AsyncGenerator<Uint8Array> {
      yield* start;
      for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
    }
    const { digest, size } = await this.#blobs.put(whole(), {}, this.#options);
    await this.#store.adoptBody(digest, size, this.#options);
    this.#known.add(digest);
    return { digest };
  }

  async #flush(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    // What the project has had before is not stored again.
    const missing = new Set(
      await this.#store.missing(
        waiting.map(({ digest }) => digest),
        this.#options,
      ),
    );
    const fresh = waiting.filter(({ digest }) => missing.has(digest));
    if (fresh.length === 0) return;
    const { bytes } = encodePack(fresh);
    async function* once(): AsyncGenerator<Uint8Array> {
      yield bytes;
    }
    await this.#store.receivePack(once(), this.#options);
  }

  async finish(entries: readonly Entry[]): Promise<void> {
    await this.#flush();
    this.#bodies = await this.#store.bodies(entries, this.#options);
  }

  body(entry: Entry): Body | Promise<Body> {
    if (this.#bodies === undefined)
      throw new SlipwayError('INTERNAL', `${entry.path} is asked for before all contents have come`);
    return this.#bodies.body(entry);
  }
}
