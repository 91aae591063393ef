// Contents that came in a stream, kept one after the other in one temporary file: what an archive context's bodies are until the layers
// are written.
import { closeSync, openSync, writeSync } from 'node:fs';
import { SlipwayError } from '../errors.ts';
import type { Body, Entry } from '../layer/entry.ts';
import { type Digest, Sha256 } from '../oci/digest.ts';
import type { Bytes } from '../store/blobs.ts';
import type { Bodies } from './bodies.ts';

export interface Spooled {
  readonly digest: Digest;
  readonly size: number;
  readonly offset: number;
}

export class Spool implements Bodies, Disposable {
  readonly path: string;
  readonly #fd: number;
  #length = 0;
  readonly #places = new Map<Digest, Spooled>();

  /** `path` must not exist yet; the caller removes it in the end. */
  constructor(path: string) {
    this.path = path;
    this.#fd = openSync(path, 'wx+', 0o600);
  }

  async write(bytes: Bytes): Promise<Spooled> {
    const offset = this.#length;
    const hash = new Sha256();
    for await (const chunk of bytes) {
      hash.update(chunk);
      for (let done = 0; done < chunk.length; )
        done += writeSync(this.#fd, chunk, done, chunk.length - done, this.#length + done);
      this.#length += chunk.length;
    }
    const { size } = hash;
    const digest = hash.digest();
    const known = this.#places.get(digest);
    if (known !== undefined) {
      this.#length = offset;
      return known;
    }
    const place = { digest, size, offset };
    this.#places.set(digest, place);
    return place;
  }

  body(entry: Entry): Body {
    const place = entry.digest === undefined ? undefined : this.#places.get(entry.digest);
    if (place === undefined) throw new SlipwayError('INTERNAL', `${entry.path} was never spooled`);
    return { kind: 'file', path: this.path, offset: place.offset };
  }

  /** Closes it for writing; bodies stay readable as long as the file is there. */
  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
