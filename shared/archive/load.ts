// Loading images (F33): OCI layouts and docker's own archives, in one pass, verified, all or nothing. Names move last, in one
// transaction; what an archive brought and nothing links is freed again, whether it was good or not.
import { SlipwayError } from '../errors.ts';
import { type Name, unnamed } from '../image/commit.ts';
import { commitsOf, type ImageParts } from '../image/images.ts';
import type { Digest } from '../oci/digest.ts';
import type { Platform } from '../oci/platform.ts';
import type { Bytes, Options } from '../store/blobs.ts';
import type { RepositoryCommit } from '../store/catalog-commit.ts';
import { freeBlobs } from '../store/condemned.ts';
import { readDockerArchive } from './docker-archive.ts';
import { Intake } from './intake.ts';
import { readLayout } from './oci-layout.ts';

export interface LoadOptions extends Options {
  /** Of an index, only this image is loaded. */
  readonly platform?: Platform;
  /** Kept in the history of the tags. */
  readonly by?: string;
  /** What the home calls a repository that the archive names so. */
  readonly rename?: (repository: string) => string;
  /** Throws for images that may not be named so; an image without a name has an empty list. */
  readonly check?: (names: readonly Name[]) => void;
}

/** An image of an archive, its documents and layers stored. */
export interface ArchivedImage {
  readonly digest: Digest;
  readonly names: readonly Name[];
  /** What the user should know, in a sentence. */
  readonly note?: string;
}

export interface Loaded {
  readonly images: readonly ArchivedImage[];
}

/**
 * Loads all images of an archive.
 * @throws INVALID_ARCHIVE, UNSAFE_PATH, DIGEST_MISMATCH, INVALID_DOCUMENT, ...: then nothing was loaded and no name was moved
 */
export async function loadArchive(parts: ImageParts, source: Bytes, options: LoadOptions = {}): Promise<Loaded> {
  const intake = new Intake(parts.blobs);
  try {
    await intake.read(source, options);
    const images = renamed(await interpret(parts, intake, options), options.rename);
    if (images.length === 0) throw new SlipwayError('INVALID_ARCHIVE', 'the archive has no images');
    const commits: RepositoryCommit[] = [];
    for (const { names } of images) options.check?.(names);
    for (const { digest, names } of images) {
      const by = options.by === undefined ? {} : { by: options.by };
      for (const [repository, tags] of byRepository(names)) {
        for (const commit of await commitsOf(parts.blobs, repository, digest, tags, options)) commits.push({ ...commit, ...by });
      }
    }
    await parts.catalog.commitAll(commits, options);
    return { images };
  } finally {
    // Not cancelled with the load: it is the load's own cleaning up.
    await freeBlobs(parts, [...intake.created], async () => false);
  }
}

function interpret(parts: ImageParts, intake: Intake, options: LoadOptions): Promise<readonly ArchivedImage[]> {
  if (intake.documents.has('index.json')) return readLayout(parts.blobs, intake, options);
  if (intake.documents.has('manifest.json')) return readDockerArchive(parts.blobs, intake, options);
  throw new SlipwayError('INVALID_ARCHIVE', 'the archive has neither index.json nor manifest.json: it is no image archive', {
    hint: 'To make an image of a plain root filesystem, use slipway import.',
  });
}

function renamed(images: readonly ArchivedImage[], rename: LoadOptions['rename']): readonly ArchivedImage[] {
  if (rename === undefined) return images;
  return images.map((image) => {
    const names = image.names.map(({ repository, tag }) => ({ repository: rename(repository), tag }));
    // Two names may be one now.
    return { ...image, names: [...new Map(names.map((name) => [`${name.repository}:${name.tag}`, name])).values()] };
  });
}

function byRepository(names: readonly Name[]): ReadonlyMap<string, readonly string[]> {
  if (names.length === 0) return new Map([[unnamed, []]]);
  const tags = new Map<string, string[]>();
  for (const { repository, tag } of names) tags.set(repository, [...(tags.get(repository) ?? []), tag]);
  return tags;
}
