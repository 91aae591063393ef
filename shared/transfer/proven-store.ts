// The store as a caller with scopes may use it for a transfer. Blobs are shared by all repositories of a home, and a pull that finds a
// layer in the store does not fetch it. But a registry may name any digest: an image made of other people's digests, at a registry of
// one's own, would put their layers into a repository that one may read. So only what the caller may read anyway counts as being here;
// all else has to come, byte by byte, from the registry that names it.
import type { ImageStore } from '../client/local-image.ts';
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { Blobs, Options } from '../store/blobs.ts';
import type { Catalog } from '../store/catalog.ts';
import { counted } from '../stream/counted.ts';
import { verified } from '../stream/verified.ts';

/** `readable`: the repositories that the caller may pull from; the transfer's own is one of them. */
export function provenStore<Known extends ImageStore['catalog'] & Pick<Catalog, 'tags'>>(
  { blobs, catalog }: { readonly blobs: ImageStore['blobs']; readonly catalog: Known },
  readable: readonly string[],
): { readonly blobs: Pick<Blobs, 'stat' | 'open' | 'put'>; readonly catalog: ImageStore['catalog'] & Pick<Catalog, 'tags'> } {
  const repositories = [...new Set(readable)].toSorted();
  /** What came from the registry in this very transfer, and is linked when it is over. */
  const proven = new Set<Digest>();
  const mayUse = async (digest: Digest, options?: Options): Promise<boolean> => {
    if (proven.has(digest)) return true;
    for (const repository of repositories) if ((await catalog.linked(repository, digest, options)) !== undefined) return true;
    return false;
  };
  return {
    blobs: {
      stat: async (digest, options) => ((await mayUse(digest, options)) ? await blobs.stat(digest, options) : undefined),
      open: async (digest, range, options) =>
        (await mayUse(digest, options)) ? await blobs.open(digest, range, options) : undefined,
      async put(source, expected = {}, options) {
        const { digest, size } = expected;
        if (digest === undefined || size === undefined) {
          throw new SlipwayError('INTERNAL', 'what a transfer stores is known by digest and size');
        }
        if (await mayUse(digest, options)) return await blobs.put(source, expected, options);
        const there = await blobs.stat(digest, options);
        if (there !== undefined) {
          for await (const _ of verified(source, expected, digest)) throwIfCancelled(options?.signal);
          proven.add(digest);
          return there;
        }
        let seen = 0;
        const stat = await blobs.put(
          counted(source, (total) => {
            seen = total;
          }),
          expected,
          options,
        );
        // A store that has it by now reads no more than it must.
        if (seen !== size) {
          throw new SlipwayError('STORE_CONFLICT', `${digest} was stored by somebody else at the same moment`, {
            hint: 'The same command again goes on from there.',
          });
        }
        proven.add(digest);
        return stat;
      },
    },
    catalog: {
      resolve: (repository, reference, options) => catalog.resolve(repository, reference, options),
      linked: (repository, digest, options) => catalog.linked(repository, digest, options),
      link: (repository, digest, size, options) => catalog.link(repository, digest, size, options),
      commit: (repository, commit, options) => catalog.commit(repository, commit, options),
      tags: (repository, page, options) => catalog.tags(repository, page, options),
      // Asked for layers that the other registry could mount: its answer, and what it is asked, tell which repositories there are.
      repositories: async ({ after, limit }) =>
        repositories.filter((name) => after === undefined || name > after).slice(0, limit),
    },
  };
}
