// Lists: tags, repositories, referrers (distribution-spec "Content Discovery"), each in pages with a Link to the next.
import type { Digest } from '../oci/digest.ts';
import { mediaType } from '../oci/media-type.ts';
import { isRepositoryPath } from '../oci/reference.ts';
import type { ManifestRecord } from '../store/catalog.ts';
import { OciError } from './errors.ts';
import { type Call, json, type Reply } from './exchange.ts';
import type { RegistryParts } from './parts.ts';
import { digestOf } from './route.ts';

/** Entries of one answer when the client names no number, and the most it gets when it does. */
const pageLimit = 10_000;
/** Referrers carry annotations, so they are counted in bytes too: an answer stays a manifest of a size every client takes. */
const referrersLimit = 1000;
const referrersBytes = 3 * 1024 * 1024;

interface Asked {
  readonly limit: number;
  readonly after?: string;
}

function pageOf(query: URLSearchParams): Asked {
  const n = query.get('n');
  const last = query.get('last');
  if (n !== null && !/^\d{1,12}$/.test(n)) {
    throw new OciError('UNSUPPORTED', `n: "${n.slice(0, 40)}" is not a number of entries`, { status: 400 });
  }
  if (last !== null && Buffer.byteLength(last) > 1024) throw new OciError('UNSUPPORTED', 'last: too long', { status: 400 });
  return {
    limit: Math.min(n === null ? pageLimit : Number(n), pageLimit),
    ...(last === null || last === '' ? {} : { after: last }),
  };
}

function nextLink(path: string, query: URLSearchParams, last: string): Record<string, string> {
  const next = new URLSearchParams(query);
  next.set('last', last);
  return { link: `<${path}?${next}>; rel="next"` };
}

export async function listTags(parts: RegistryParts, call: Call, name: string): Promise<Reply> {
  const query = new URLSearchParams(call.query);
  const { limit, after } = pageOf(query);
  // One more than asked tells whether there is a next page. n=0 still has to find the repository.
  const found = await parts.catalog.tags(name, { limit: limit + 1, ...(after === undefined ? {} : { after }) });
  if (found === undefined) throw new OciError('NAME_UNKNOWN', undefined, { detail: { name } });
  const tags = found.slice(0, limit).map((record) => record.tag);
  const last = found.length > limit ? tags.at(-1) : undefined;
  return json(200, { name, tags }, last === undefined ? {} : nextLink(`/v2/${name}/tags/list`, query, last));
}

export async function listRepositories(parts: RegistryParts, call: Call): Promise<Reply> {
  const query = new URLSearchParams(call.query);
  const { limit, after } = pageOf(query);
  const repositories: string[] = [];
  let more = false;
  for await (const name of servedRepositories(parts, after, limit + 1)) {
    if (repositories.length === limit) {
      more = true;
      break;
    }
    repositories.push(name);
  }
  const last = more ? repositories.at(-1) : undefined;
  return json(200, { repositories }, last === undefined ? {} : nextLink('/v2/_catalog', query, last));
}

/** Images pulled from HOST:PORT are in the catalog under that name, which no path of ours can say: they are not listed. */
export async function* servedRepositories(
  parts: RegistryParts,
  after: string | undefined,
  batch: number,
): AsyncGenerator<string> {
  const limit = Math.max(1, Math.min(batch, 1000));
  for (;;) {
    const page = await parts.catalog.repositories({ limit, ...(after === undefined ? {} : { after }) });
    for (const name of page) if (isRepositoryPath(name)) yield name;
    if (page.length < limit) return;
    after = page.at(-1);
  }
}

export async function listReferrers(parts: RegistryParts, call: Call, name: string, digest: Digest): Promise<Reply> {
  const query = new URLSearchParams(call.query);
  const artifactType = query.get('artifactType') ?? undefined;
  const n = pageOf(query).limit;
  const after = query.get('last');
  const limit = Math.max(1, Math.min(n, referrersLimit));
  const found = await parts.catalog.referrers(name, digest, {
    limit: limit + 1,
    ...(after === null ? {} : { after: digestOf(after, 'last') }),
    ...(artifactType === undefined ? {} : { artifactType }),
  });
  const manifests: unknown[] = [];
  let size = 0;
  let last: ManifestRecord | undefined;
  for (const record of found.slice(0, limit)) {
    const descriptor = descriptorOf(record);
    size += JSON.stringify(descriptor).length;
    if (size > referrersBytes && manifests.length > 0) break;
    manifests.push(descriptor);
    last = record;
  }
  const more = last !== undefined && manifests.length < found.length;
  return json(
    200,
    { schemaVersion: 2, mediaType: mediaType.ociIndex, manifests },
    {
      'content-type': mediaType.ociIndex,
      ...(artifactType === undefined ? {} : { 'oci-filters-applied': 'artifactType' }),
      ...(more && last !== undefined ? nextLink(`/v2/${name}/referrers/${digest}`, query, last.digest) : {}),
    },
  );
}

const descriptorOf = (record: ManifestRecord): Record<string, unknown> => ({
  mediaType: record.mediaType,
  digest: record.digest,
  size: record.size,
  ...(record.artifactType === undefined ? {} : { artifactType: record.artifactType }),
  ...(record.annotations === undefined ? {} : { annotations: record.annotations }),
});
