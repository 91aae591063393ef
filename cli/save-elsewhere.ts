// `save` of more than a home elsewhere gives in one answer: the archive is made here, of documents and layers that come from the registry
// there as they are written. Nothing of it is kept on this machine.
import type { ImageDetails } from '../shared/api/images.ts';
import { type AskedImage, archiveOf } from '../shared/archive/save.ts';
import { RegistryBlobs } from '../shared/client/registry-blobs.ts';
import type { RegistryClient } from '../shared/client/registry-client.ts';
import { isCode, SlipwayError } from '../shared/errors.ts';
import { noSuchImage } from '../shared/image/images.ts';
import { isDigest } from '../shared/oci/digest.ts';
import { hostPlatform, parsePlatform } from '../shared/oci/platform.ts';
import { familiar, isRepositoryPath, parseReference, withDefaultTag, withoutHost } from '../shared/oci/reference.ts';
import type { Api } from './api-client.ts';
import { type HomeRegistry, pathOf } from './home-registry.ts';
import { imagePath } from './image-path.ts';

export interface SaveFrom {
  readonly registry: HomeRegistry;
  readonly api: Api;
  readonly signal: AbortSignal;
}

/** As the home's own save: nothing is written before all images are found. */
export async function saveElsewhere(
  words: readonly string[],
  platform: string | undefined,
  { registry, api, signal }: SaveFrom,
): Promise<AsyncIterable<Uint8Array>> {
  const blobs = new RegistryBlobs(registry.client);
  const asked: AskedImage[] = [];
  for (const word of words) {
    for (const { path, ...image } of await find(withoutHost(word, registry.names), { registry, api, signal })) {
      blobs.add(path, image.digest);
      asked.push(image);
    }
  }
  const options = { signal, ...(platform === undefined ? {} : { platform: parsePlatform(platform, hostPlatform()) }) };
  return await archiveOf({ blobs }, asked, options);
}

interface Found extends AskedImage {
  /** The repository it comes from. */
  readonly path: string;
}

/** By the rules of Images.find, and of saving: a name without a tag means all of its tags. */
async function find(word: string, { registry, api, signal }: SaveFrom): Promise<readonly Found[]> {
  if (isDigest(word) || /^(?:sha256:[a-f0-9]{4,64}|[a-f0-9]{64})$/.test(word)) return [await byId(word, registry, api)];
  const { client, names } = registry;
  const reference = parseReference(word);
  const { repository } = reference;
  const path = pathOf(repository, names);
  const tagged = async (tag: string): Promise<readonly Found[]> => {
    const there = await client.resolve(path, tag, signal);
    return there === undefined ? [] : [{ path, digest: there.digest, names: [{ repository, tag }] }];
  };
  if (reference.digest !== undefined) return [{ path, digest: reference.digest, names: [] }];
  const tags = reference.tag === undefined ? await tagsOf(client, path, signal) : [reference.tag];
  const found = (await Array.fromAsync(tags, tagged)).flat();
  if (found.length > 0) return found;
  if (/^[a-f0-9]{4,63}$/.test(word)) return [await byId(word, registry, api)];
  throw noSuchImage(familiar(withDefaultTag(reference)));
}

async function tagsOf(client: RegistryClient, path: string, signal: AbortSignal): Promise<readonly string[]> {
  try {
    return await Array.fromAsync(client.tags(path, signal));
  } catch (error) {
    if (isCode(error, 'NOT_FOUND')) return [];
    throw error;
  }
}

/** Registries find nothing by its ID alone: the home knows which of its repositories has it. */
async function byId(word: string, { url, limits }: HomeRegistry, api: Api): Promise<Found> {
  const { Id, RepoDigests } = await api.json<ImageDetails>('GET', imagePath(word, '/inspect'));
  const path = RepoDigests.map((name) => name.slice(0, name.indexOf('@'))).find(isRepositoryPath);
  if (path !== undefined) return { path, digest: Id, names: [] };
  throw new SlipwayError(
    'UNSUPPORTED',
    `${word} has no name at ${url}: what is larger than ${limits.answer / 1e6} MB comes from the registry, which knows images by their names`,
    { hint: `Give it one: slipway tag ${word} NAME:TAG`, details: { image: Id } },
  );
}
