// Tables of contents of a base's layers, made while the layers come in: a build that only copies onto the base then never reads them.
import type { Layer } from '../layer/layer.ts';
import type { LayerRecords } from '../layer/record.ts';
import { tocOfLayer } from '../layer/toc-of-layer.ts';
import type { Bytes } from '../store/blobs.ts';

/** For one pull. `finish` waits until all tables are kept; call it once the layers are stored. */
export class TocTap {
  readonly #records: LayerRecords;
  readonly #found: { readonly layer: Layer; readonly pipe: Pipe; readonly toc: Promise<Uint8Array | undefined> }[] = [];

  constructor(records: LayerRecords) {
    this.#records = records;
  }

  /** The same bytes; what is not a layer of the diffID is stored all the same, and found out by whoever reads it. */
  readonly tap = (layer: Layer, bytes: Bytes): Bytes => {
    const pipe = new Pipe();
    const toc = tocOfLayer(pipe.read(), layer.diffId).then(
      (made) => made,
      () => undefined,
    );
    this.#found.push({ layer, pipe, toc });
    return pipe.through(bytes);
  };

  async finish(): Promise<void> {
    for (const { layer, pipe, toc } of this.#found) {
      // The store had it already and read nothing, or stopped.
      pipe.close();
      const made = await toc;
      if (made !== undefined) await this.#records.save({ ...layer, toc: made });
    }
  }
}

/** One chunk at a time to a second reader, which may stop early. */
class Pipe {
  #chunk: Uint8Array | 'end' | 'broken' | undefined;
  #wake: () => void = () => undefined;
  #taken: () => void = () => undefined;
  #stopped = false;
  #ended = false;

  async *through(bytes: Bytes): AsyncGenerator<Uint8Array> {
    let whole = false;
    try {
      for await (const chunk of bytes) {
        // A copy: the store may reuse or transfer what it is given while the other reader is still at it.
        const taken = this.#offer(Uint8Array.from(chunk));
        yield chunk;
        await taken;
      }
      whole = true;
    } finally {
      this.#ended = true;
      void this.#offer(whole ? 'end' : 'broken');
    }
  }

  close(): void {
    if (!this.#ended) void this.#offer('broken');
  }

  async *read(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        if (this.#chunk === undefined) await new Promise<void>((resolve) => (this.#wake = resolve));
        const chunk = this.#chunk;
        if (chunk === 'end') return;
        if (chunk === 'broken') throw new Error('the layer did not come in whole');
        this.#chunk = undefined;
        if (chunk !== undefined) yield chunk;
        this.#taken();
      }
    } finally {
      this.#stopped = true;
      this.#taken();
    }
  }

  #offer(chunk: Uint8Array | 'end' | 'broken'): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    this.#chunk = chunk;
    const taken = new Promise<void>((resolve) => (this.#taken = resolve));
    this.#wake();
    return taken;
  }
}
