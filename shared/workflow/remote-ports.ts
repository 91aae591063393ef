// The executor's ports on a runner. Blobs are the home's for reading and this machine's for writing; what is known of layers and of the
// context is kept in a table of this machine, filled from the job's answers. Only what a RUN made goes back.
import type { CachedStep } from '../build/cache.ts';
import type { KeyStruct } from '../build/key.ts';
import type { LayerRecords } from '../layer/record.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobBody, BlobStat, ByteRange, Bytes, Expected, LocalBlobs, Options } from '../store/blobs.ts';
import { DiskBlobs } from '../store/disk-blobs.ts';
import { contextKeys, layerKeys } from '../store/keys.ts';
import type { Json, Table } from '../store/table.ts';
import { toReadableStream } from '../stream/web.ts';
import { WorkflowCache } from './build-cache.ts';
import type { FoundStep } from './job.ts';
import type { JobClient } from './job-client.ts';

/** This machine's blobs, and behind them the home's. */
export class RemoteBlobs {
  readonly #disk: DiskBlobs;
  readonly #client: JobClient;
  /** What the home is known to have: asked once. */
  readonly #there = new Map<Digest, number>();

  private constructor(disk: DiskBlobs, client: JobClient) {
    this.#disk = disk;
    this.#client = client;
  }

  static async open(folder: string, client: JobClient): Promise<RemoteBlobs> {
    return new RemoteBlobs(await DiskBlobs.open(folder), client);
  }

  get local(): LocalBlobs {
    return this.#disk.local;
  }

  know(blob: BlobStat): void {
    this.#there.set(blob.digest, blob.size);
  }

  async stat(digest: Digest, options?: Options): Promise<BlobStat | undefined> {
    const here = await this.#disk.stat(digest);
    if (here !== undefined) return here;
    const known = this.#there.get(digest);
    if (known !== undefined) return { digest, size: known };
    const found = await this.#client.open(digest, { start: 0, end: 0 }, options?.signal);
    return found === undefined ? undefined : { digest, size: found.size };
  }

  async open(digest: Digest, range?: ByteRange, options?: Options): Promise<BlobBody | undefined> {
    if (this.#disk.local.path(digest) !== undefined) return this.#disk.open(digest, range, options);
    const found = await this.#client.open(digest, range, options?.signal);
    return found === undefined ? undefined : { digest, size: found.size, body: toReadableStream(found.body) };
  }

  put(source: Bytes, expected?: Expected, options?: Options): Promise<BlobStat> {
    return this.#disk.put(source, expected, options);
  }

  stage(): string {
    return this.#disk.stage();
  }

  adopt(file: string, blob: BlobStat): Promise<BlobStat> {
    return this.#disk.adopt(file, blob);
  }

  /** Sends one of this machine's blobs to the home. */
  async send(blob: BlobStat, signal?: AbortSignal): Promise<void> {
    await this.#client.send(
      blob,
      async () => {
        const found = await this.#disk.open(blob.digest, undefined, signal === undefined ? {} : { signal });
        if (found === undefined) throw new Error(`${blob.digest} is gone from this machine`);
        return found.body;
      },
      signal,
    );
    this.know(blob);
  }
}

export interface RemoteCacheOptions {
  readonly client: JobClient;
  readonly blobs: RemoteBlobs;
  readonly records: LayerRecords;
  readonly table: Table;
}

/** Looks steps up in the home; keeps there what RUN made, and here everything else. */
export class RemoteCache extends WorkflowCache<RemoteCacheOptions> {
  override async lookup(struct: KeyStruct, signal?: AbortSignal): Promise<CachedStep | undefined> {
    const here = await super.lookup(struct, signal);
    if (here !== undefined) return here;
    const { client, blobs, table } = this.options;
    const { found } = await client.ask<{ readonly found?: FoundStep }>('lookup', { struct }, signal);
    if (found === undefined) return undefined;
    blobs.know(found.layer);
    await knowLayer(table, found.diffId, found.layer, found.toc);
    return { diffId: found.diffId, made: found.made };
  }

  override async save(struct: KeyStruct, step: CachedStep, signal?: AbortSignal): Promise<void> {
    await super.save(struct, step, signal);
    if (struct.operation.kind !== 'run') return;
    const { client, blobs, records } = this.options;
    const layer = await records.find(step.diffId);
    if (layer === undefined) throw new Error(`the layer ${step.diffId} is not on this machine`);
    const { digest, size } = layer.descriptor;
    await blobs.send({ digest, size }, signal);
    await client.ask('save', { struct, diffId: step.diffId, blob: digest, size, made: step.made }, signal);
  }
}

/** What LayerRecords then finds. */
export async function knowLayer(
  table: Table,
  diffId: Digest,
  descriptor: { readonly mediaType: string; readonly digest: Digest; readonly size: number },
  toc: Digest | undefined,
): Promise<void> {
  const { mediaType, digest, size } = descriptor;
  const value = { ...(toc === undefined ? {} : { toc }), forms: [{ mediaType, digest, size }] };
  await table.put(layerKeys.record(diffId), value);
}

/** What ContextStore then finds: where the bodies of `digests` are. */
export async function knowBodies(
  client: JobClient,
  table: Table,
  project: string,
  digests: readonly Digest[],
  signal: AbortSignal,
): Promise<void> {
  const once = [...new Set(digests)];
  for (let at = 0; at < once.length; at += 5000) {
    const asked = { digests: once.slice(at, at + 5000) };
    const { places } = await client.ask<{ readonly places: readonly { readonly digest: Digest; readonly place: Json }[] }>(
      'bodies',
      asked,
      signal,
    );
    for (let from = 0; from < places.length; from += 100) {
      const writes = places.slice(from, from + 100).map(({ digest, place }) => ({
        kind: 'put' as const,
        key: contextKeys.body(project, digest),
        value: place,
      }));
      await table.transact(writes);
    }
  }
}
