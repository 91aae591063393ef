// What a caller may do with an image that a request names: by name it is the repository's scope that counts, as in the registry; by ID,
// which finds images of all repositories, that of the list of images.
import type { Action, Wanted } from '../auth/scope.ts';
import { unnamed } from '../image/commit.ts';
import { type FoundImage, Images } from '../image/images.ts';
import { isDigest } from '../oci/digest.ts';
import { parseReference } from '../oci/reference.ts';
import type { Options } from '../store/blobs.ts';
import type { Access } from './access.ts';
import type { ApiParts } from './parts.ts';

const isId = (word: string): boolean => isDigest(word) || /^(?:sha256:)?[a-f0-9]{64}$/.test(word);

/** For saving, where a name without a tag means all the tags there are. @throws UNAUTHORIZED with all that is missing, and as checkImage */
export async function checkSaving(parts: ApiParts, access: Access, words: readonly string[], options: Options): Promise<void> {
  if (access.caller === undefined) return;
  access.require(
    ...words.map((word): Wanted => (isId(word) ? 'catalog' : { name: parseReference(word).repository, action: 'pull' })),
  );
  for (const word of words) {
    if (!isId(word) && (await new Images(parts).namesFor(word, options)).length > 0) continue;
    await checkImage(parts, access, word, 'pull', options);
  }
}

/** @throws UNAUTHORIZED; and what looking for an image throws */
export async function checkImage(parts: ApiParts, access: Access, word: string, action: Action, options: Options): Promise<void> {
  if (access.caller === undefined) return;
  // Before it is looked for: whether there is such an image is nobody else's business.
  if (isId(word)) access.require('catalog');
  else access.require({ name: parseReference(word).repository, action });
  const images = new Images(parts);
  const found = await images.find(word, options);
  if (found.by === 'id') access.require('catalog');
  if (action === 'delete') await checkRemoval(images, access, found, options);
}

/** An image that loses its last name leaves every repository that has it. */
async function checkRemoval(images: Images, access: Access, found: FoundImage, options: Options): Promise<void> {
  const { repositories, names } = await images.whereIs(found.digest, options);
  if (found.by === 'tag' && names.length > 1) return;
  const named = repositories.filter((name) => name !== unnamed);
  access.require(...named.map((name) => ({ name, action: 'delete' as const })));
}
