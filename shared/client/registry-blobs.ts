// The blobs of a registry, read as those of a store: documents when they are asked for, layers as streams. What an archive of images that
// are elsewhere is made from, with nothing on the disk.
import { SlipwayError } from '../errors.ts';
import { isImageManifest } from '../image/read.ts';
import { configLimit } from '../oci/config.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { childrenOf, isForeign, parseManifestOrIndex } from '../oci/manifest.ts';
import type { BlobBody, BlobStat, ByteRange, Options, ReadableBlobs } from '../store/blobs.ts';
import { ByteCache } from '../store/byte-cache.ts';
import { bytesStream } from '../store/bytes-stream.ts';
import { verified } from '../stream/verified.ts';
import type { RegistryClient } from './registry-client.ts';

interface Known {
  /** A repository that has it. */
  readonly path: string;
  readonly kind: 'manifest' | 'config' | 'blob';
  /** Bytes, as its descriptor says; of the manifest that was asked for, nobody has said yet. */
  readonly size?: number;
}

/** Documents that are kept, in bytes: those of a usual image are a few thousand. */
const memory = 64 * 1024 * 1024;

export class RegistryBlobs implements ReadableBlobs {
  readonly #client: RegistryClient;
  readonly #known = new Map<Digest, Known>();
  readonly #documents = new ByteCache<Digest>(memory);

  constructor(client: RegistryClient) {
    this.#client = client;
  }

  /** From now on a manifest or an index of the repository is here, and everything that it names. */
  add(path: string, digest: Digest): void {
    this.#know(digest, { path, kind: 'manifest' });
  }

  async stat(digest: Digest, options?: Options): Promise<BlobStat | undefined> {
    const known = this.#known.get(digest);
    if (known === undefined) return undefined;
    // A member of an index need not be there; what a manifest names was there when the registry took it.
    if (known.kind !== 'manifest' && known.size !== undefined) return { digest, size: known.size };
    const bytes = await this.#document(digest, known, options);
    return bytes && { digest, size: bytes.length };
  }

  async open(digest: Digest, range?: ByteRange, options?: Options): Promise<BlobBody | undefined> {
    if (range !== undefined) throw new SlipwayError('INTERNAL', 'a part of a blob was asked of a registry');
    const known = this.#known.get(digest);
    if (known === undefined) return undefined;
    if (known.kind === 'blob' && known.size !== undefined) {
      const blob = { digest, size: known.size };
      return { ...blob, body: ReadableStream.from(verified(this.#client.blob(known.path, blob, options?.signal), blob, digest)) };
    }
    const bytes = await this.#document(digest, known, options);
    return bytes && { digest, size: bytes.length, body: bytesStream(bytes) };
  }

  #know(digest: Digest, known: Known): void {
    if (!this.#known.has(digest)) this.#known.set(digest, known);
  }

  async #document(digest: Digest, { path, kind, size }: Known, { signal }: Options = {}): Promise<Uint8Array | undefined> {
    const kept = this.#documents.get(digest);
    if (kept !== undefined) return kept;
    if (kind === 'config' && size !== undefined) {
      const bytes = await this.#client.document(path, { digest, size }, configLimit, signal);
      return this.#keep(digest, bytes);
    }
    const found = await this.#client.manifest(path, digest, signal);
    if (found === undefined) return undefined;
    const document = parseManifestOrIndex(found.bytes);
    const child = ({ digest: of, size: bytes }: Descriptor, as: Known['kind']) => this.#know(of, { path, kind: as, size: bytes });
    if (document.kind === 'index') for (const member of childrenOf(document)) child(member, 'manifest');
    else {
      const { config, layers } = document.manifest;
      child(config, isImageManifest(document.manifest) ? 'config' : 'blob');
      for (const layer of layers) if (!isForeign(layer)) child(layer, 'blob');
    }
    return this.#keep(digest, found.bytes);
  }

  #keep(digest: Digest, bytes: Uint8Array): Uint8Array {
    // Of its own: a view may hold on to much more than it shows.
    const own = new Uint8Array(bytes);
    this.#documents.set(digest, own);
    return own;
  }
}
