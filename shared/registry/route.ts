// The paths of the registry (OCI distribution-spec "Endpoints", and docker's v1 search), parsed by hand: a name may hold slashes and
// words such as `blobs`, so a path is read from its end.
import { type Digest, isDigest } from '../oci/digest.ts';
import { isRepositoryPath } from '../oci/reference.ts';
import { OciError } from './errors.ts';

export type Route =
  | { readonly kind: 'version' }
  | { readonly kind: 'catalog' }
  | { readonly kind: 'ping' }
  | { readonly kind: 'search' }
  | { readonly kind: 'tags'; readonly name: string }
  | { readonly kind: 'blob'; readonly name: string; readonly digest: Digest }
  | { readonly kind: 'uploads'; readonly name: string }
  | { readonly kind: 'upload'; readonly name: string; readonly id: string }
  | { readonly kind: 'manifest'; readonly name: string; readonly reference: string }
  | { readonly kind: 'referrers'; readonly name: string; readonly digest: Digest };

const uploadPattern = /^[A-Za-z0-9_=-]{1,200}$/;

/** The digest, or DIGEST_INVALID. */
export function digestOf(text: string | null | undefined, what = 'digest'): Digest {
  if (typeof text === 'string' && isDigest(text)) return text;
  const shown = typeof text === 'string' ? `"${text.slice(0, 160)}"` : 'nothing';
  throw new OciError('DIGEST_INVALID', `${what}: ${shown} is not a digest of a kind this registry takes (sha256, sha512)`);
}

/** The route of a path as sent, or `undefined` when it is none of ours. Hostile names and digests are NAME_INVALID and DIGEST_INVALID. */
export function parseRoute(rawPath: string): Route | undefined {
  const path = rawPath.includes('%') ? decode(rawPath) : rawPath;
  if (!path.startsWith('/v2/')) {
    if (path === '/v2') return { kind: 'version' };
    if (path === '/v1/_ping') return { kind: 'ping' };
    if (path === '/v1/search') return { kind: 'search' };
    return undefined;
  }
  if (path.length === 4) return { kind: 'version' };
  if (path === '/v2/_catalog') return { kind: 'catalog' };
  const lastAt = path.lastIndexOf('/');
  const verbAt = path.lastIndexOf('/', lastAt - 1);
  const last = path.slice(lastAt + 1);
  const verb = path.slice(verbAt + 1, lastAt);
  const name = path.slice(4, Math.max(verbAt, 4));
  if (verb === 'manifests') return { kind: 'manifest', name: nameOf(name), reference: last };
  if (verb === 'tags' && last === 'list') return { kind: 'tags', name: nameOf(name) };
  if (verb === 'referrers') return { kind: 'referrers', name: nameOf(name), digest: digestOf(last) };
  if (verb === 'uploads' && name.endsWith('/blobs')) {
    const repository = nameOf(name.slice(0, -'/blobs'.length));
    if (last === '') return { kind: 'uploads', name: repository };
    if (!uploadPattern.test(last)) throw new OciError('BLOB_UPLOAD_UNKNOWN');
    return { kind: 'upload', name: repository, id: last };
  }
  if (verb === 'blobs') {
    if (last === 'uploads') return { kind: 'uploads', name: nameOf(name) };
    return { kind: 'blob', name: nameOf(name), digest: digestOf(last) };
  }
  return undefined;
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw new OciError('NAME_INVALID', 'the path is not valid percent-encoded UTF-8');
  }
}

function nameOf(text: string): string {
  if (isRepositoryPath(text)) return text;
  throw new OciError(
    'NAME_INVALID',
    `"${text.slice(0, 300)}" is not a repository name: lower-case letters, digits and single . _ - between them`,
  );
}
