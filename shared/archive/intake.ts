// Reading an image archive of either kind in one pass: every member is hashed and stored as it comes, so that the archive is never
// kept. What is stored has no name and no link until the whole archive was good; what does not get one is freed again.
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { manifestLimit } from '../oci/manifest.ts';
import type { Blobs, Bytes, Options } from '../store/blobs.ts';
import { collect } from '../stream/collect.ts';
import { decompress, type StreamFormat, sniff } from '../stream/decompress.ts';
import { verified } from '../stream/verified.ts';
import { safePath } from '../tar/path.ts';
import { readTar } from '../tar/read.ts';

/** A real archive has a dozen members for each image. */
const memberLimit = 100_000;
const linkLimit = 16;

export interface Member {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** Told by its first bytes. */
  readonly format: StreamFormat;
}

/** The two descriptions an archive can have; kept as bytes. */
const documents: ReadonlySet<string> = new Set(['oci-layout', 'index.json', 'manifest.json']);

/** Members that old writers put in for older readers: what they say is in the config too. */
const ignored = /(?:^|\/)(?:VERSION|json)$|^repositories$/;

const invalid = (problem: string, hint?: string): SlipwayError =>
  new SlipwayError('INVALID_ARCHIVE', problem, hint === undefined ? {} : { hint });

export class Intake {
  readonly documents = new Map<string, Uint8Array>();
  readonly #members = new Map<string, Member>();
  readonly #digests = new Set<Digest>();
  readonly #links = new Map<string, string>();
  /** What was not in the store before. */
  readonly created = new Set<Digest>();
  readonly #blobs: Blobs;

  constructor(blobs: Blobs) {
    this.#blobs = blobs;
  }

  /** Takes in a whole archive: plain, or compressed with gzip, bzip2, xz or zstd. */
  async read(source: Bytes, options: Options = {}): Promise<void> {
    const { signal } = options;
    const plain = decompress(source, { what: 'the archive', ...(signal && { signal }) });
    let count = 0;
    for await (const { entry, body } of readTar(plain, { what: 'the archive', absolute: 'strip', ...(signal && { signal }) })) {
      if (++count > memberLimit) throw invalid(`the archive has more than ${memberLimit} members`);
      const { path, type } = entry;
      if (type === 'dir') continue;
      if (this.#members.has(path) || this.#links.has(path) || this.documents.has(path))
        throw invalid(`the archive has two members ${path}`);
      if (type === 'symlink') this.#links.set(path, join(path, entry.link ?? ''));
      else if (type === 'hardlink') this.#links.set(path, entry.link ?? '');
      else if (type !== 'file') throw invalid(`the archive has a member ${path} of type ${type}: this is no image archive`);
      else if (documents.has(path)) this.documents.set(path, await collect(body, manifestLimit, path));
      else if (!ignored.test(path)) await this.#store(path, body, entry.size, options);
    }
    if (count === 0) throw invalid('the archive is empty');
  }

  async #store(path: string, source: Bytes, size: number, options: Options): Promise<void> {
    const digest = digestOf(path);
    const { format, bytes } = await sniff(source);
    const there = digest && (await this.#blobs.stat(digest, options));
    if (digest && there) {
      // Read all the same: to name a digest is not to have its bytes.
      for await (const _ of verified(bytes, { digest, size }, path)) throwIfCancelled(options.signal);
      this.#add(path, { digest, size, format });
      return;
    }
    const stored = await this.#blobs.put(bytes, { size, ...(digest && { digest }) }, options);
    this.created.add(stored.digest);
    this.#add(path, { ...stored, format });
  }

  #add(path: string, member: Member): void {
    this.#members.set(path, member);
    this.#digests.add(member.digest);
  }

  /** Stores a document that was made from what is in the archive. */
  async make(bytes: Uint8Array, digest: Digest, options: Options): Promise<void> {
    const there = await this.#blobs.stat(digest, options);
    await this.#blobs.put(one(bytes), { digest, size: bytes.length }, options);
    if (there === undefined) this.created.add(digest);
    this.#digests.add(digest);
  }

  /** Adds a blob that was made from a member of the archive. */
  made(member: Member): Member {
    this.created.add(member.digest);
    this.#digests.add(member.digest);
    return member;
  }

  /** Whether the archive itself brought these bytes. */
  has(digest: Digest): boolean {
    return this.#digests.has(digest);
  }

  /** The member at a path that a document of the archive names, through links inside the archive. */
  member(named: string, where: string): Member {
    let path = safePath(named, 'refuse', where);
    for (let hops = 0; hops <= linkLimit; hops++) {
      const found = this.#members.get(path);
      if (found) return found;
      const link = this.#links.get(path);
      if (link === undefined)
        throw invalid(`${where}: the archive has no member ${path}`, 'The archive is incomplete: save it again.');
      path = link;
    }
    throw invalid(`${where}: the links at ${named} go in circles`);
  }
}

function digestOf(path: string): Digest | undefined {
  const match = /^blobs\/([^/]+)\/([^/]+)$/.exec(path);
  if (match === null) return undefined;
  const digest = `${match[1]}:${match[2]}`;
  if (!isDigest(digest)) throw invalid(`the archive has a blob ${path} whose name is not a digest`);
  return digest;
}

/** The target of a symlink as a path in the archive; `..` may not lead out of it. */
function join(path: string, target: string): string {
  const parts = target.startsWith('/') ? [] : path.split('/').slice(0, -1);
  for (const part of target.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) {
      throw new SlipwayError('UNSAFE_PATH', `the link ${path} leads out of the archive, to ${target.slice(0, 200)}`);
    }
  }
  return parts.join('/');
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
