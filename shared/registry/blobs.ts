// Blobs: GET, HEAD, DELETE (distribution-spec "Pulling blobs", "Deleting Blobs"). A blob is stored once for all repositories and read
// only through a link that the repository holds.
import type { Digest } from '../oci/digest.ts';
import { OciError } from './errors.ts';
import { type Call, type Content, empty, type Reply } from './exchange.ts';
import type { RegistryParts } from './parts.ts';
import { requestedRange } from './range.ts';

/** A digest names its bytes for ever. */
const forEver = 'max-age=31536000, immutable';

export async function readBlob(parts: RegistryParts, call: Call, name: string, digest: Digest): Promise<Reply> {
  const size = await parts.catalog.linked(name, digest);
  if (size === undefined) throw new OciError('BLOB_UNKNOWN', undefined, { detail: { digest } });
  const etag = `"${digest}"`;
  const common = { 'docker-content-digest': digest, etag, 'cache-control': forEver };
  if (matches(call.header('if-none-match'), etag)) return empty(304, common);
  const link = parts.blobs.link;
  if (link !== undefined) {
    const method = call.method === 'HEAD' ? 'HEAD' : 'GET';
    const location = await link.read(digest, { method, seconds: parts.linkSeconds ?? 900 });
    if (location === undefined) throw new OciError('BLOB_UNKNOWN', undefined, { detail: { digest } });
    return empty(307, { location, 'docker-content-digest': digest });
  }
  const headers = {
    ...common,
    'content-type': 'application/octet-stream',
    'accept-ranges': 'bytes',
    'x-content-type-options': 'nosniff',
  };
  const conditional = call.header('if-range');
  const asked = call.method === 'GET' && (conditional === undefined || conditional === etag) ? call.header('range') : undefined;
  const range = requestedRange(asked, size);
  if (range === 'unsatisfiable') {
    throw new OciError('SIZE_INVALID', `the blob has ${size} bytes; the range ${asked} is outside`, {
      status: 416,
      headers: { 'content-range': `bytes */${size}` },
    });
  }
  if (range === undefined) {
    return { status: 200, headers: { ...headers, 'content-length': String(size) }, body: contentOf(parts, digest, 0, size) };
  }
  return {
    status: 206,
    headers: {
      ...headers,
      'content-length': String(range.end - range.start),
      'content-range': `bytes ${range.start}-${range.end - 1}/${size}`,
    },
    body: contentOf(parts, digest, range.start, range.end, size),
  };
}

function contentOf(parts: RegistryParts, digest: Digest, start: number, end: number, size = end): Content {
  const path = parts.blobs.local?.path(digest);
  const whole = start === 0 && end === size;
  return {
    size: end - start,
    open: async (signal) => (await parts.blobs.open(digest, whole ? undefined : { start, end }, { signal }))?.body,
    ...(path === undefined ? {} : { file: { path, start, end } }),
  };
}

export async function deleteBlob(parts: RegistryParts, name: string, digest: Digest): Promise<Reply> {
  if (!(await parts.catalog.unlink(name, digest))) throw new OciError('BLOB_UNKNOWN', undefined, { detail: { digest } });
  return empty(202);
}

export const matches = (ifNoneMatch: string | undefined, etag: string): boolean =>
  (ifNoneMatch ?? '').split(',').some((one) => one.trim().replace(/^W\//, '') === etag || one.trim() === '*');
