// Which images a build would read, before it starts: so that a caller who may not read one is told at once. What stands in the way of
// planning is passed over here, because the build itself tells it with its place in the file; and what only the images of other
// registries ask for (ONBUILD) is checked again when the build is planned (prepare.ts).
import { findLocal } from '../client/local-image.ts';
import { openImage } from '../image/read.ts';
import type { ImageConfig } from '../oci/config.ts';
import { type Digest, sha256 } from '../oci/digest.ts';
import { parsePlatform } from '../oci/platform.ts';
import { parseReference, withDefaultTag, withoutHost } from '../oci/reference.ts';
import type { Blobs } from '../store/blobs.ts';
import type { Catalog } from '../store/catalog.ts';
import { planBuild } from './planner.ts';
import type { BuildRequest } from './request.ts';

/** Nothing is run on it. */
const anyPlatform = 'linux/amd64';
const unknownImage: { readonly digest: Digest; readonly config: ImageConfig } = {
  digest: sha256(''),
  config: { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } },
};

/** Names of repositories, as the catalog knows them. */
export async function basesOf(
  request: BuildRequest,
  ports: { readonly catalog: Catalog; readonly blobs: Blobs; readonly host?: string },
): Promise<ReadonlySet<string>> {
  const bases = new Set<string>();
  try {
    const host = parsePlatform(anyPlatform);
    await planBuild(
      {
        dockerfile: request.dockerfile,
        buildArgs: request.buildArgs,
        platform: request.platform === undefined ? host : parsePlatform(request.platform, host),
        ...(request.target === undefined ? {} : { target: request.target }),
      },
      {
        async resolveImage(name, platform) {
          const reference = withDefaultTag(parseReference(withoutHost(name, ports.host)));
          bases.add(reference.repository);
          const record = await findLocal(ports, reference, platform);
          if (record === undefined) return { name, ...unknownImage };
          const { digest, config } = await openImage(ports.blobs, record.digest, { platform });
          return { name, digest, config };
        },
      },
    );
  } catch {
    // See above.
  }
  return bases;
}
