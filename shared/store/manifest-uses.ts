// What a manifest of a repository names: config and layers, or members. From its record where that has it, else from the document.
import { SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import { manifestLimit } from '../oci/manifest.ts';
import type { Blobs, Options } from './blobs.ts';
import { asStoredManifest, type ReadManifest, readManifest, type StoredManifest } from './catalog-records.ts';
import { catalogKeys } from './keys.ts';
import type { Table } from './table.ts';

const pageSize = 1000;

/** @throws STORE when its blob is gone */
export async function readStoredManifest(blobs: Blobs, stored: StoredManifest, options?: Options): Promise<ReadManifest> {
  const blob = await blobs.open(stored.digest, undefined, options);
  if (blob === undefined || blob.size > manifestLimit) {
    throw new SlipwayError('STORE', `the manifest ${stored.digest} is not in the blob store any more`);
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of blob.body) chunks.push(chunk);
  return readManifest(Buffer.concat(chunks), stored.mediaType, stored.digest, stored.at);
}

export async function usesOf(blobs: Blobs, stored: StoredManifest, options?: Options): Promise<readonly Digest[]> {
  if (stored.uses !== undefined) return stored.uses;
  const { needs } = await readStoredManifest(blobs, stored, options);
  return [...needs.blobs, ...needs.manifests];
}

/** Every manifest of a repository, with what it names. */
export async function* manifestUses(
  { table, blobs }: { readonly table: Table; readonly blobs: Blobs },
  repository: string,
  options?: Options,
): AsyncGenerator<{ readonly digest: Digest; readonly uses: readonly Digest[] }> {
  for (let after: string | undefined; ; ) {
    const query = { prefix: catalogKeys.manifestPrefix, limit: pageSize, ...(after === undefined ? {} : { after }) };
    const page = await table.query(catalogKeys.partition(repository), query, options);
    for (const record of page) {
      const stored = asStoredManifest(record);
      yield { digest: stored.digest, uses: await usesOf(blobs, stored, options) };
    }
    if (page.length < pageSize) return;
    after = page.at(-1)!.sort;
  }
}
