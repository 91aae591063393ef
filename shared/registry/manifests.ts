// Manifests: GET, HEAD, PUT, DELETE by tag and by digest (distribution-spec "Pulling manifests", "Pushing manifests", "Deleting").
// The bytes are kept and served exactly as they came.
import { isCode } from '../errors.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { manifestLimit, parseManifestOrIndex } from '../oci/manifest.ts';
import { isTag } from '../oci/reference.ts';
import type { ByteCache } from '../store/byte-cache.ts';
import { matches } from './blobs.ts';
import { OciError } from './errors.ts';
import { type Call, empty, type Reply } from './exchange.ts';
import type { RegistryParts } from './parts.ts';
import { lengthOf } from './range.ts';
import { digestOf } from './route.ts';

export async function readManifest(
  parts: RegistryParts,
  memory: ByteCache<Digest>,
  call: Call,
  name: string,
  reference: string,
): Promise<Reply> {
  const record = isTag(reference) || isDigest(reference) ? await parts.catalog.resolve(name, reference) : undefined;
  if (record === undefined) throw unknown(name, reference);
  const { digest, mediaType, size } = record;
  const accept = call.header('accept');
  if (accept !== undefined && !accepts(accept, mediaType)) {
    throw new OciError('MANIFEST_UNKNOWN', `${name}:${reference} is ${mediaType}, which the request's Accept header leaves out`);
  }
  const etag = `"${digest}"`;
  const headers = {
    'content-type': mediaType,
    'content-length': String(size),
    'docker-content-digest': digest,
    etag,
    'x-content-type-options': 'nosniff',
  };
  if (matches(call.header('if-none-match'), etag)) return empty(304, { 'docker-content-digest': digest, etag });
  if (call.method === 'HEAD') return { status: 200, headers };
  return { status: 200, headers, body: memory.get(digest) ?? (await load(parts, memory, digest, size, call.signal)) };
}

async function load(
  parts: RegistryParts,
  memory: ByteCache<Digest>,
  digest: Digest,
  size: number,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const blob = await parts.blobs.open(digest, undefined, { signal });
  // The record says that it is there: only a deletion between the two reads, or damage, can lead here.
  if (blob === undefined) throw new OciError('MANIFEST_UNKNOWN', `the bytes of ${digest} are gone`);
  const bytes = await collect(blob.body, size);
  memory.set(digest, bytes);
  return bytes;
}

async function collect(body: AsyncIterable<Uint8Array>, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(limit);
  let at = 0;
  for await (const chunk of body) {
    if (at + chunk.length > limit)
      throw new OciError('SIZE_INVALID', `the manifest is larger than ${limit} bytes`, { status: 413 });
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes.subarray(0, at);
}

/** Whether an Accept header takes `type`. Quality 0 refuses; parameters are of no interest otherwise. */
function accepts(header: string, type: string): boolean {
  if (header.includes(type)) return true;
  return header.split(',').some((one) => {
    const [range = '', ...parameters] = one.split(';').map((part) => part.trim().toLowerCase());
    if (parameters.some((p) => /^q=0(?:\.0*)?$/.test(p))) return false;
    // Old clients ask for any JSON and can read what they get.
    return range === type || range === '*/*' || range === 'application/*' || range === 'application/json';
  });
}

export async function putManifest(parts: RegistryParts, call: Call, name: string, reference: string): Promise<Reply> {
  const query = new URLSearchParams(call.query);
  const byDigest = reference.includes(':');
  if (!byDigest && !isTag(reference)) throw new OciError('MANIFEST_INVALID', `"${reference.slice(0, 150)}" is no tag`);
  const digest = byDigest ? digestOf(reference) : undefined;
  const tags = byDigest ? query.getAll('tag') : [reference];
  if (!byDigest && query.has('tag')) {
    throw new OciError('UNSUPPORTED', 'tag parameters go with a manifest pushed by digest', { status: 400 });
  }
  const bad = tags.find((tag) => !isTag(tag));
  if (bad !== undefined) throw new OciError('MANIFEST_INVALID', `"${bad.slice(0, 150)}" is no tag`);
  if (tags.length > tagLimit) {
    throw new OciError('MANIFEST_INVALID', `${tags.length} tags at once are more than ${tagLimit}`, { status: 414 });
  }
  const bytes = await readBody(call);
  const declared = call.header('content-type')?.split(';', 1)[0]?.trim().toLowerCase();
  const document = parse(bytes, declared);
  try {
    const record = await parts.catalog.commit(
      name,
      { bytes, mediaType: document.mediaType, tags, ...(digest === undefined ? {} : { digest }) },
      { signal: call.signal },
    );
    return empty(201, {
      location: `/v2/${name}/manifests/${record.digest}`,
      'docker-content-digest': record.digest,
      ...(record.subject === undefined ? {} : { 'oci-subject': record.subject }),
      ...(byDigest && tags.length > 0 ? { 'oci-tag': tags } : {}),
    });
  } catch (error) {
    if (!isCode(error, 'NOT_FOUND')) throw error;
    const missing = Array.isArray(error.details?.missing) ? (error.details.missing as readonly unknown[]) : [];
    throw new OciError('MANIFEST_BLOB_UNKNOWN', error.message, { detail: { missing: missing.slice(0, 100) } });
  }
}

/** Room for them in one transaction beside the manifest's own records. */
const tagLimit = 80;

async function readBody(call: Call): Promise<Uint8Array> {
  const announced = lengthOf(call.header('content-length'));
  const tooLarge = () =>
    new OciError('SIZE_INVALID', `a manifest may have ${manifestLimit} bytes`, { status: 413, detail: { limit: manifestLimit } });
  if (announced !== undefined && announced > manifestLimit) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of call.body) {
    size += chunk.length;
    if (size > manifestLimit) throw tooLarge();
    chunks.push(chunk);
  }
  if (announced !== undefined && announced !== size) throw new OciError('SIZE_INVALID');
  return Buffer.concat(chunks);
}

function parse(bytes: Uint8Array, declared: string | undefined): { readonly mediaType: string } {
  try {
    return parseManifestOrIndex(bytes, declared);
  } catch (error) {
    if (isCode(error, 'UNSUPPORTED', 'INVALID_DOCUMENT', 'INVALID_DIGEST', 'INVALID_PLATFORM')) {
      throw new OciError('MANIFEST_INVALID', error.hint === undefined ? error.message : `${error.message}. ${error.hint}`);
    }
    throw error;
  }
}

export async function deleteManifest(
  parts: RegistryParts,
  memory: ByteCache<Digest>,
  name: string,
  reference: string,
): Promise<Reply> {
  if (isDigest(reference)) {
    if (!(await parts.catalog.remove(name, reference))) throw unknown(name, reference);
    memory.delete(reference);
  } else if (!isTag(reference) || !(await parts.catalog.untag(name, reference))) {
    throw unknown(name, reference);
  }
  return empty(202);
}

const unknown = (name: string, reference: string): OciError =>
  new OciError('MANIFEST_UNKNOWN', undefined, { detail: { name, reference: reference.slice(0, 200) } });
