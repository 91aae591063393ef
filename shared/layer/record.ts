// What a home knows of layers, per diffID: the blobs they are stored as, the table of contents, the member indexes. Kept on Table and
// Blobs; all of it can be made again from a layer's blob.
import { readFileSync } from 'node:fs';
import { isCode, SlipwayError } from '../errors.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import type { Blobs, Options } from '../store/blobs.ts';
import { layerKeys } from '../store/keys.ts';
import type { Json, Table, TableRecord } from '../store/table.ts';
import type { Layer } from './layer.ts';
import { MergedTree } from './merged.ts';
import { TableToc } from './toc-table.ts';

export interface StoredForm {
  readonly descriptor: Pick<Descriptor, 'mediaType' | 'digest' | 'size'>;
  /** Blob of the member index, for layers written here. */
  readonly members?: Digest;
}

export interface LayerRecord {
  readonly diffId: Digest;
  /** The last recorded first. */
  readonly forms: readonly StoredForm[];
  /** Blob of the table of contents. */
  readonly toc?: Digest;
}

/** A table of contents or an index larger than this is not ours. */
const maxDocumentBytes = 1024 * 1024 * 1024;
const keptTables = 256;
const attempts = 20;

export class LayerRecords {
  readonly #table: Table;
  readonly #blobs: Blobs;
  readonly #tocs = new Map<Digest, TableToc>();
  readonly #making = new Map<Digest, Promise<TableToc>>();

  constructor(table: Table, blobs: Blobs) {
    this.#table = table;
    this.#blobs = blobs;
  }

  /** Absence is `undefined`. */
  async get(diffId: Digest, options?: Options): Promise<LayerRecord | undefined> {
    const record = await this.#table.get(layerKeys.record(diffId), options);
    return record === undefined ? undefined : decode(diffId, record.value);
  }

  /** The stored layer, if one of its blobs is (still) there. */
  async find(diffId: Digest, options?: Options): Promise<Layer | undefined> {
    for (const { descriptor } of (await this.get(diffId, options))?.forms ?? []) {
      if ((await this.#blobs.stat(descriptor.digest, options)) !== undefined) return { descriptor, diffId };
    }
    return undefined;
  }

  /**
   * Records a layer whose blob is stored, with what its writer knows of it. Idempotent; another blob of the same diffID is a further
   * form of it.
   */
  async save(layer: Layer & { readonly toc?: Uint8Array; readonly members?: Uint8Array }, options?: Options): Promise<void> {
    const { diffId } = layer;
    const { mediaType, digest, size } = layer.descriptor;
    // Documents first: a record never names a blob that is not there.
    const [toc, members] = await Promise.all([this.#keep(layer.toc, options), this.#keep(layer.members, options)]);
    await this.#edit(diffId, options, (record) => {
      const before = record.forms.find((form) => form.descriptor.digest === digest);
      const form: StoredForm = {
        descriptor: { mediaType, digest, size },
        ...((members ?? before?.members) && { members: members ?? before!.members! }),
      };
      return {
        diffId,
        forms: [form, ...record.forms.filter((other) => other !== before)],
        ...((toc ?? record.toc) && { toc: toc ?? record.toc! }),
      };
    });
    if (layer.toc !== undefined) this.#remember(this.#tocs.get(diffId) ?? new TableToc(layer.toc));
  }

  /** Has the table of contents at hand for a layer that is not stored yet. */
  expect(toc: Uint8Array): void {
    this.#remember(new TableToc(toc));
  }

  /** The table of contents; made from the layer's blob when none is kept, and kept. */
  async toc(layer: Layer, options?: Options): Promise<TableToc> {
    const { diffId } = layer;
    const known = this.#tocs.get(diffId);
    if (known !== undefined) {
      this.#remember(known);
      return known;
    }
    // Stages that run at once ask for the same base: it is read once. A waiter whose maker was cancelled makes it itself.
    const making = this.#making.get(diffId);
    if (making !== undefined) {
      try {
        return await making;
      } catch (error) {
        if (!isCode(error, 'CANCELLED') || options?.signal?.aborted) throw error;
        return this.toc(layer, options);
      }
    }
    const made = this.#loadOrMake(layer, options);
    this.#making.set(diffId, made);
    try {
      return await made;
    } finally {
      this.#making.delete(diffId);
    }
  }

  /** The file system that the layers make, bottom first. */
  async tree(layers: readonly Layer[], options?: Options): Promise<MergedTree> {
    return new MergedTree(await Promise.all(layers.map((layer) => this.toc(layer, options))));
  }

  /** What `writeLayer` can use again: the newest form of this layer that was written here with the media type and is still stored. */
  async reusable(
    diffId: Digest,
    mediaType: string,
    options?: Options,
  ): Promise<{ readonly blob: Digest; readonly members: Uint8Array } | undefined> {
    for (const { descriptor, members } of (await this.get(diffId, options))?.forms ?? []) {
      if (members === undefined || descriptor.mediaType !== mediaType) continue;
      if ((await this.#blobs.stat(descriptor.digest, options)) === undefined) continue;
      const bytes = await this.#read(members, options);
      if (bytes !== undefined) return { blob: descriptor.digest, members: bytes };
    }
    return undefined;
  }

  /** The member index of one blob of a layer. */
  async members(diffId: Digest, blob: Digest, options?: Options): Promise<Uint8Array | undefined> {
    const form = (await this.get(diffId, options))?.forms.find(({ descriptor }) => descriptor.digest === blob);
    return form?.members === undefined ? undefined : this.#read(form.members, options);
  }

  /** Forgets the layer; its blobs stay. True when there was a record. */
  async remove(diffId: Digest, options?: Options): Promise<boolean> {
    this.#tocs.delete(diffId);
    return this.#table.delete(layerKeys.record(diffId), {}, options);
  }

  async #loadOrMake(layer: Layer, options: Options | undefined): Promise<TableToc> {
    const { diffId, descriptor } = layer;
    const record = await this.get(diffId, options);
    const kept = record?.toc === undefined ? undefined : await this.#read(record.toc, options);
    if (kept !== undefined) {
      const toc = new TableToc(kept);
      if (toc.diffId === diffId) return this.#remember(toc);
    }
    const found = await this.#blobs.open(descriptor.digest, undefined, options);
    if (found === undefined) throw new SlipwayError('NOT_FOUND', `the layer ${descriptor.digest} is not in the store`);
    const [{ tocOfLayer }, { fromReadableStream }] = await Promise.all([import('./toc-of-layer.ts'), import('../stream/web.ts')]);
    const toc = await tocOfLayer(fromReadableStream(found.body), diffId, options);
    await this.save({ ...layer, toc }, options);
    return new TableToc(toc);
  }

  async #keep(bytes: Uint8Array | undefined, options: Options | undefined): Promise<Digest | undefined> {
    if (bytes === undefined) return undefined;
    return (await this.#blobs.put(one(bytes), {}, options)).digest;
  }

  async #read(digest: Digest, options: Options | undefined): Promise<Uint8Array | undefined> {
    const file = this.#blobs.local?.path(digest);
    // Without a stream: it is read whole in any case.
    if (file !== undefined) return readFileSync(file);
    const found = await this.#blobs.open(digest, undefined, options);
    const [{ collect }, { fromReadableStream }] = await Promise.all([import('../stream/collect.ts'), import('../stream/web.ts')]);
    return found === undefined ? undefined : collect(fromReadableStream(found.body), maxDocumentBytes, `blob ${digest}`);
  }

  #remember(toc: TableToc): TableToc {
    this.#tocs.delete(toc.diffId);
    this.#tocs.set(toc.diffId, toc);
    const [oldest] = this.#tocs.keys();
    if (this.#tocs.size > keptTables && oldest !== undefined) this.#tocs.delete(oldest);
    return toc;
  }

  async #edit(diffId: Digest, options: Options | undefined, change: (record: LayerRecord) => LayerRecord): Promise<void> {
    const key = layerKeys.record(diffId);
    for (let attempt = 0; ; attempt++) {
      const current: TableRecord | undefined = await this.#table.get(key, options);
      const before: LayerRecord = (current && decode(diffId, current.value)) ?? { diffId, forms: [] };
      const after = change(before);
      if (JSON.stringify(after) === JSON.stringify(before)) return;
      const condition = current === undefined ? ({ ifAbsent: true } as const) : { ifVersion: current.version };
      try {
        await this.#table.put(key, encode(after), { condition }, options);
        return;
      } catch (error) {
        if (!isCode(error, 'STORE_CONFLICT') || attempt >= attempts) throw error;
      }
    }
  }
}

async function* one(bytes: Uint8Array) {
  yield bytes;
}

const encode = ({ forms, toc }: LayerRecord): Json => ({
  ...(toc !== undefined && { toc }),
  forms: forms.map(({ descriptor, members }) => ({ ...descriptor, ...(members !== undefined && { members }) })),
});

/** The record of a layer as it is in the table; `undefined` when it is damaged. */
export const layerRecordOf = ({ sort, value }: TableRecord): LayerRecord | undefined =>
  isDigest(sort) ? decode(sort, value) : undefined;

/** A record that is not what `encode` wrote is as good as none: everything in it can be made again. */
function decode(diffId: Digest, value: Json): LayerRecord | undefined {
  const { toc, forms } = (value ?? {}) as { readonly toc?: unknown; readonly forms?: unknown };
  if (!Array.isArray(forms)) return undefined;
  const decoded: StoredForm[] = [];
  for (const form of forms as readonly Readonly<Record<string, unknown>>[]) {
    const { mediaType, digest, size, members } = form;
    if (typeof mediaType !== 'string' || typeof digest !== 'string' || !isDigest(digest) || typeof size !== 'number')
      return undefined;
    decoded.push({
      descriptor: { mediaType, digest, size },
      ...(typeof members === 'string' && isDigest(members) && { members }),
    });
  }
  return { diffId, forms: decoded, ...(typeof toc === 'string' && isDigest(toc) && { toc }) };
}
