// Contexts in a home that is not the client's machine (N07, C26): the client sends the list, is told which bodies are missing, and sends
// those. A body is known only inside a project: nobody learns from an answer, or gets into a build by naming a digest, what another
// project has. Everything here is idempotent, so a client that lost an answer just asks or sends again.
import { SlipwayError } from '../errors.ts';
import type { Body, Entry } from '../layer/entry.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import type { Blobs, Bytes, Options } from '../store/blobs.ts';
import { contextKeys } from '../store/keys.ts';
import type { Json, Table, TableRecord } from '../store/table.ts';
import { collect } from '../stream/collect.ts';
import { verified } from '../stream/verified.ts';
import type { Bodies } from './bodies.ts';
import { Context } from './list.ts';
import { checkedPack, maxPackBytes, maxPackedBody, type PackedBody } from './pack.ts';

/** Where a body is: in a blob (a pack, or itself), from an offset. */
interface Place {
  readonly blob: Digest;
  readonly offset: number;
  readonly size: number;
}

const batch = 1000;
const transaction = 100;
/** The largest list: about two million files. */
const maxListBytes = 512 << 20;

function placeOf(record: TableRecord | undefined): Place | undefined {
  const value = record?.value as { blob?: unknown; offset?: unknown; size?: unknown } | undefined;
  const { blob, offset, size } = value ?? {};
  if (typeof blob !== 'string' || !isDigest(blob) || typeof offset !== 'number' || typeof size !== 'number') return undefined;
  return { blob, offset, size };
}

export interface Offered {
  readonly id: Digest;
  /** Entries in the list. */
  readonly files: number;
  /** In the order of the list. */
  readonly missing: readonly Digest[];
}

export const incomplete = (id: string): SlipwayError =>
  new SlipwayError('CONTEXT', `the context ${id} is not complete: some of its files were never sent`, {
    hint: 'Send what is missing and complete it first (POST /api/v1/contexts/ID/complete says what).',
  });

export class ContextStore {
  readonly #blobs: Blobs;
  readonly #table: Table;
  readonly #project: string;

  constructor({ blobs, table, project }: { readonly blobs: Blobs; readonly table: Table; readonly project: string }) {
    this.#blobs = blobs;
    this.#table = table;
    this.#project = project;
  }

  /** Those of `digests` whose bodies this project has not got, each once, in order. */
  async missing(digests: Iterable<Digest>, options: Options = {}): Promise<readonly Digest[]> {
    const places = await this.#places(new Set(digests), options);
    const there = new Map<Digest, Promise<boolean>>();
    const out: Digest[] = [];
    for (const [digest, place] of places) {
      // A record may outlive its blob: then the body must come again.
      if (place !== undefined && !there.has(place.blob)) {
        there.set(
          place.blob,
          this.#blobs.stat(place.blob, options).then((stat) => stat !== undefined),
        );
      }
      if (place === undefined || !(await there.get(place.blob))) out.push(digest);
    }
    return out;
  }

  async #places(digests: ReadonlySet<Digest>, options: Options): Promise<ReadonlyMap<Digest, Place | undefined>> {
    const all = [...digests];
    const out = new Map<Digest, Place | undefined>();
    for (let at = 0; at < all.length; at += batch) {
      const some = all.slice(at, at + batch);
      const keys = some.map((digest) => contextKeys.body(this.#project, digest));
      const records = await this.#table.getMany(keys, options);
      for (const [i, digest] of some.entries()) out.set(digest, placeOf(records[i]));
    }
    return out;
  }

  /**
   * Stores a pack and makes its bodies known. Every body is checked against its digest while the pack is stored; a pack with one wrong
   * body is refused whole (DIGEST_MISMATCH, INVALID_ARCHIVE), and nothing of it is kept.
   */
  async receivePack(source: Bytes, options: Options = {}): Promise<readonly PackedBody[]> {
    let bodies: readonly PackedBody[] | undefined;
    const checked = checkedPack(source, (found) => {
      bodies = found;
    });
    const { digest } = await this.#blobs.put(checked, {}, options);
    if (bodies === undefined) throw new SlipwayError('INTERNAL', 'a pack was stored without having been read to its end');
    await this.#record(digest, bodies, options);
    return bodies;
  }

  /**
   * Makes the bodies known of a pack that reached the blobs by another way (a presigned upload). Only for a pack that this very client is
   * known to have uploaded: a digest alone proves nothing. NOT_FOUND when it is not there.
   */
  async adoptPack(digest: Digest, options: Options = {}): Promise<readonly PackedBody[]> {
    const blob = await this.#blobs.open(digest, undefined, options);
    if (blob === undefined) throw new SlipwayError('NOT_FOUND', `there is no pack ${digest}`);
    let bodies: readonly PackedBody[] = [];
    const checked = checkedPack(blob.body, (found) => {
      bodies = found;
    });
    // The bytes are stored already: they only have to pass the checks.
    for await (const chunk of checked) void chunk.length;
    await this.#record(digest, bodies, options);
    return bodies;
  }

  /**
   * Stores one large body. The bytes must really come in, even when the home has them from another project: who only knows a digest gets
   * nothing.
   */
  async receiveBody(source: Bytes, digest: Digest, size: number, options: Options = {}): Promise<void> {
    if (size <= maxPackedBody) throw new SlipwayError('USAGE', `a body of ${size} bytes belongs into a pack`);
    const expected = { digest, size };
    if ((await this.#blobs.stat(digest, options)) === undefined) {
      await this.#blobs.put(source, expected, options);
    } else {
      for await (const chunk of verified(source, expected, 'body')) void chunk.length;
    }
    await this.#record(digest, [{ digest, size, offset: 0 }], options);
  }

  async #record(blob: Digest, bodies: readonly PackedBody[], options: Options): Promise<void> {
    const once = new Map(bodies.map((body) => [body.digest, body]));
    const writes = [...once.values()].map(({ digest, size, offset }) => ({
      kind: 'put' as const,
      key: contextKeys.body(this.#project, digest),
      value: { blob, offset, size } satisfies Json,
    }));
    for (let at = 0; at < writes.length; at += transaction) {
      await this.#table.transact(writes.slice(at, at + transaction), options);
    }
  }

  /** Makes a large body known that reached the blobs by another way, under the same condition as `adoptPack`. */
  async adoptBody(digest: Digest, size: number, options: Options = {}): Promise<void> {
    if (size <= maxPackedBody) throw new SlipwayError('USAGE', `a body of ${size} bytes belongs into a pack`);
    await this.#record(digest, [{ digest, size, offset: 0 }], options);
  }

  /** Keeps a list and answers its id. `complete`: all its bodies are here; only then can it be built from. */
  async saveList(context: Context, options: Options & { readonly complete?: boolean } = {}): Promise<Digest> {
    const bytes = context.encode();
    async function* once() {
      yield bytes;
    }
    const { digest } = await this.#blobs.put(once(), {}, options);
    const value = { files: context.entries.length, ...(options.complete === true ? { complete: true } : {}) };
    await this.#table.transact(
      [
        { kind: 'put', key: contextKeys.list(this.#project, digest), value },
        // So that a collection knows where to look.
        { kind: 'put', key: contextKeys.project(this.#project), value: {} },
      ],
      options,
    );
    return digest;
  }

  /** Keeps a list, and answers which of its bodies this project has not got. */
  async offer(context: Context, options: Options = {}): Promise<Offered> {
    const digests = context.entries.flatMap((entry) => (entry.type === 'file' && entry.size > 0 ? [entry.digest!] : []));
    const missing = await this.missing(digests, options);
    const id = await this.saveList(context, { ...options, complete: missing.length === 0 });
    return { id, files: context.entries.length, missing };
  }

  /** Takes back that a list is complete: a content of it turned out to be gone, and its client has to be asked for it again. */
  async reopenList(id: Digest, options: Options = {}): Promise<void> {
    const facts = await this.listFacts(id, options);
    if (facts !== undefined) await this.#table.put(contextKeys.list(this.#project, id), { files: facts.files }, {}, options);
  }

  /** What is known of a list without reading it. Absence is `undefined`. */
  async listFacts(
    id: Digest,
    options: Options = {},
  ): Promise<{ readonly files: number; readonly complete: boolean } | undefined> {
    const record = await this.#table.get(contextKeys.list(this.#project, id), options);
    if (record === undefined) return undefined;
    const { files, complete } = record.value as { readonly files: number; readonly complete?: boolean };
    return { files, complete: complete === true };
  }

  /**
   * A list that can be built from. CONTEXT when not all of its bodies have come: results that the cache has for their digests are no
   * proof that this project has them.
   */
  async openList(id: Digest, options: Options = {}): Promise<Context> {
    const facts = await this.listFacts(id, options);
    const context = facts === undefined ? undefined : await this.loadList(id, options);
    if (facts === undefined || context === undefined) {
      throw new SlipwayError('NOT_FOUND', `there is no context ${id} in the project ${this.#project}`);
    }
    if (!facts.complete) throw incomplete(id);
    return context;
  }

  /** The list that this project saved under `id`. Absence is `undefined`. */
  async loadList(id: Digest, options: Options = {}): Promise<Context | undefined> {
    if ((await this.#table.get(contextKeys.list(this.#project, id), options)) === undefined) return undefined;
    const blob = await this.#blobs.open(id, undefined, options);
    if (blob === undefined) return undefined;
    if (blob.size > maxListBytes) throw new SlipwayError('TOO_LARGE', `the file list ${id} has ${blob.size} bytes`);
    return Context.decode(await collect(blob.body, maxListBytes, 'the file list'));
  }

  /** The bodies of these entries. CONTEXT names the first file whose body never came. */
  async bodies(entries: Iterable<Entry>, options: Options = {}): Promise<Bodies> {
    const files = [...entries].filter((entry) => entry.type === 'file' && entry.size > 0 && entry.digest !== undefined);
    const places = await this.#places(new Set(files.map((entry) => entry.digest!)), options);
    for (const { path, digest, size } of files) {
      const place = places.get(digest!);
      if (place?.size !== size) {
        throw new SlipwayError('CONTEXT', `the content of ${JSON.stringify(path)} (${digest}) was not sent`, {
          details: { path, digest },
        });
      }
    }
    return new PackBodies(this.#blobs, places as ReadonlyMap<Digest, Place>);
  }
}

/** Packs held at once: layers read bodies in the order in which packs were made. */
const maxHeld = 3;

class PackBodies implements Bodies {
  readonly #blobs: Blobs;
  readonly #places: ReadonlyMap<Digest, Place>;
  readonly #held = new Map<Digest, Promise<Uint8Array>>();

  constructor(blobs: Blobs, places: ReadonlyMap<Digest, Place>) {
    this.#blobs = blobs;
    this.#places = places;
  }

  body(entry: Entry): Body {
    const place = this.#places.get(entry.digest!);
    if (place === undefined) throw new SlipwayError('INTERNAL', `${entry.path} is not one of the entries these bodies are for`);
    const { blob, offset, size } = place;
    const path = this.#blobs.local?.path(blob);
    if (path !== undefined) return { kind: 'file', path, offset };
    return { kind: 'open', open: (signal) => (size > maxPackedBody ? this.#stream(blob, signal) : this.#slice(place, signal)) };
  }

  async #stream(blob: Digest, signal: AbortSignal | undefined): Promise<Bytes> {
    const found = await this.#blobs.open(blob, undefined, signal === undefined ? {} : { signal });
    if (found === undefined) throw new SlipwayError('CONTEXT', `the content ${blob} of a file of the context is gone`);
    return found.body;
  }

  async #slice({ blob, offset, size }: Place, signal: AbortSignal | undefined): Promise<Bytes> {
    let pack = this.#held.get(blob);
    if (pack === undefined) {
      pack = this.#stream(blob, signal).then((body) => collect(body, maxPackBytes, 'a pack'));
      // Failures are not kept: the next reader tries again.
      pack.catch(() => this.#held.delete(blob));
      for (const oldest of [...this.#held.keys()].slice(0, Math.max(0, this.#held.size + 1 - maxHeld))) this.#held.delete(oldest);
    } else {
      this.#held.delete(blob);
    }
    this.#held.set(blob, pack);
    const bytes = await pack;
    async function* once() {
      yield bytes.subarray(offset, offset + size);
    }
    return once();
  }
}
