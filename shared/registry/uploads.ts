// Uploads: POST, PATCH, GET, PUT, DELETE of /blobs/uploads/ (distribution-spec "Pushing blobs", "Mounting a blob"). An upload lives in
// the store, so any process of the home can go on with it.
import { isCode } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import { isRepositoryPath } from '../oci/reference.ts';
import type { Bytes, UploadState } from '../store/blobs.ts';
import { OciError } from './errors.ts';
import { type Call, empty, type Reply } from './exchange.ts';
import type { RegistryParts } from './parts.ts';
import { chunkRange, lengthOf } from './range.ts';
import { digestOf } from './route.ts';

/** POST: a mount, a whole blob in one request, or the start of an upload. */
export async function startUpload(parts: RegistryParts, call: Call, name: string): Promise<Reply> {
  const query = new URLSearchParams(call.query);
  const mount = query.get('mount');
  if (mount !== null) {
    const mounted = await mountBlob(parts, call, name, digestOf(mount, 'mount'), query.get('from'));
    if (mounted !== undefined) return mounted;
  } else if (query.has('digest')) {
    const digest = digestOf(query.get('digest'));
    const size = lengthOf(call.header('content-length'));
    const { signal } = call;
    const stat = await parts.blobs.put(call.body, { digest, ...(size === undefined ? {} : { size }) }, { signal });
    return committed(parts, name, digest, stat.size);
  }
  const algorithm = query.get('digest-algorithm');
  if (algorithm !== null && algorithm !== 'sha256' && algorithm !== 'sha512') {
    throw new OciError('DIGEST_INVALID', `digest algorithm "${algorithm.slice(0, 40)}" is not supported; use sha256 or sha512`);
  }
  return empty(202, stateHeaders(parts, name, await parts.blobs.begin()));
}

/** Links a blob that the caller may already read. `undefined`: nothing to mount, start an upload instead. */
async function mountBlob(
  parts: RegistryParts,
  call: Call,
  name: string,
  digest: Digest,
  from: string | null,
): Promise<Reply | undefined> {
  let size: number | undefined;
  if (from !== null && from !== '') {
    const readable = isRepositoryPath(from) && ((await parts.mayMount?.(call, from)) ?? true);
    if (readable) size = await parts.catalog.linked(from, digest);
  } else if (parts.openMount === true) {
    size = (await parts.blobs.stat(digest))?.size;
  }
  return size === undefined ? undefined : committed(parts, name, digest, size);
}

/** GET and HEAD: how far it is. */
export async function uploadStatus(parts: RegistryParts, name: string, id: string): Promise<Reply> {
  return empty(204, stateHeaders(parts, name, await known(parts, id)));
}

/** PATCH: the next chunk; without Content-Range, whatever follows. */
export async function appendChunk(parts: RegistryParts, call: Call, name: string, id: string): Promise<Reply> {
  return empty(202, stateHeaders(parts, name, await append(parts, call, name, id)));
}

/** PUT: perhaps a last chunk, or the whole blob, then the digest decides. */
export async function finishUpload(parts: RegistryParts, call: Call, name: string, id: string): Promise<Reply> {
  const digest = digestOf(new URLSearchParams(call.query).get('digest'));
  const { signal } = call;
  if (lengthOf(call.header('content-length')) !== 0 && hasBody(call)) await append(parts, call, name, id);
  try {
    const stat = await parts.blobs.finish(id, { digest }, { signal });
    return await committed(parts, name, digest, stat.size);
  } catch (error) {
    // The bytes are not what the client says they are: nothing can be made of this upload any more.
    if (isCode(error, 'DIGEST_MISMATCH', 'SIZE_MISMATCH')) await parts.blobs.abort(id);
    throw error;
  }
}

/** DELETE. */
export async function cancelUpload(parts: RegistryParts, id: string): Promise<Reply> {
  await known(parts, id);
  await parts.blobs.abort(id);
  return empty(204);
}

const hasBody = (call: Call): boolean =>
  call.header('content-length') !== undefined || call.header('transfer-encoding') !== undefined;

async function known(parts: RegistryParts, id: string): Promise<UploadState> {
  const state = await parts.blobs.upload(id);
  if (state === undefined) throw new OciError('BLOB_UPLOAD_UNKNOWN');
  return state;
}

async function append(parts: RegistryParts, call: Call, name: string, id: string): Promise<UploadState> {
  const range = chunkRange(call.header('content-range'));
  const length = lengthOf(call.header('content-length'));
  if (range !== undefined && length !== undefined && range.length !== length) {
    throw new OciError('SIZE_INVALID', `Content-Range names ${range.length} bytes, Content-Length ${length}`);
  }
  const state = await known(parts, id);
  if (range !== undefined && range.start !== state.offset) throw outOfOrder(parts, name, state);
  const body = range === undefined ? call.body : limited(call.body, range.length);
  try {
    return await parts.blobs.append(id, state.offset, body, { signal: call.signal });
  } catch (error) {
    if (isCode(error, 'UPLOAD_OFFSET')) throw outOfOrder(parts, name, await known(parts, id));
    if (isCode(error, 'CONFLICT')) throw new OciError('BLOB_UPLOAD_INVALID', error.message, { status: 409 });
    throw error;
  }
}

async function* limited(body: Bytes, length: number): AsyncGenerator<Uint8Array> {
  let left = length;
  for await (const chunk of body) {
    left -= chunk.length;
    if (left < 0) throw new OciError('SIZE_INVALID', `the chunk is longer than its Content-Range, ${length} bytes`);
    yield chunk;
  }
  if (left > 0) throw new OciError('SIZE_INVALID', `the chunk is ${left} bytes shorter than its Content-Range, ${length} bytes`);
}

function outOfOrder(parts: RegistryParts, name: string, state: UploadState): OciError {
  return new OciError('BLOB_UPLOAD_INVALID', `the next byte of this upload is ${state.offset}`, {
    status: 416,
    headers: stateHeaders(parts, name, state),
    detail: { offset: state.offset },
  });
}

/** `Range: 0-0` also says "nothing yet": docker fails without one, and the spec has no other way to say it. */
const stateHeaders = (parts: RegistryParts, name: string, state: UploadState): Record<string, string> => ({
  location: parts.uploadLocation?.(name, state.id) ?? `/v2/${name}/blobs/uploads/${state.id}`,
  range: `0-${Math.max(0, state.offset - 1)}`,
  'docker-upload-uuid': state.id,
  // No specification has it; Cloudflare's registry began it, and our client cuts its uploads by it.
  ...(parts.chunkLimit === undefined ? {} : { 'oci-chunk-max-length': String(parts.chunkLimit) }),
});

async function committed(parts: RegistryParts, name: string, digest: Digest, size: number): Promise<Reply> {
  await parts.catalog.link(name, digest, size);
  return empty(201, { location: `${parts.blobHost ?? ''}/v2/${name}/blobs/${digest}`, 'docker-content-digest': digest });
}
