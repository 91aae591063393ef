// The images of a home as people name them: by tag, by digest, by the start of an ID. On top of the catalog, where the same manifest
// may be in several repositories; an image is one digest with all its names.
import { SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import { isDigest } from '../oci/digest.ts';
import { isForeign } from '../oci/manifest.ts';
import { isIndexType } from '../oci/media-type.ts';
import { defaultTag, familiar, isTag, parseReference, parseTarget, withDefaultTag } from '../oci/reference.ts';
import type { Blobs, Options } from '../store/blobs.ts';
import type { Catalog, ManifestRecord, Page, TagRecord } from '../store/catalog.ts';
import type { RepositoryCommit } from '../store/catalog-commit.ts';
import type { Table } from '../store/table.ts';
import { type Name, unnamed } from './commit.ts';
import { type Facts, factsOf } from './facts.ts';
import { nestingLimit, readStored } from './read.ts';

export interface ImageParts {
  readonly table: Table;
  readonly blobs: Blobs;
  readonly catalog: Catalog;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/** One image of the home. */
export interface ListedImage extends Facts {
  /** Sorted; none when it is dangling. */
  readonly names: readonly Name[];
  /** Repositories that hold it, internal ones left out; `REPOSITORY@DIGEST` finds it. */
  readonly repositories: readonly string[];
  /** Seconds since 1970 of its first commit to any of them. */
  readonly committed: number;
  /** True for members of an index and referrers, which are no images of their own. */
  readonly member: boolean;
}

export interface ListOptions extends Options {
  /** Members of indexes and referrers too. */
  readonly all?: boolean;
}

export interface FoundImage {
  readonly digest: Digest;
  /** How it was named: by ID (or the start of one), by a tag, or by repository and digest. */
  readonly by: 'id' | 'tag' | 'digest';
  readonly repository?: string;
  readonly tag?: string;
}

const pageSize = 1000;
/** Docker's: four digits at least, so that `slipway rm bad` with no image of that name does not guess. */
const idShape = /^(?:sha256:)?([a-f0-9]{4,64})$/;

export const noSuchImage = (word: string): SlipwayError =>
  new SlipwayError('NOT_FOUND', `No such image: ${word}`, { details: { image: word } });

/** Everything a page function gives, page by page. */
export async function* pages<T>(
  read: (page: Page) => Promise<readonly T[] | undefined>,
  cursor: (item: T) => string,
): AsyncGenerator<T> {
  for (let after: string | undefined; ; ) {
    const items = (await read({ limit: pageSize, ...(after !== undefined && { after }) })) ?? [];
    yield* items;
    if (items.length < pageSize) return;
    after = cursor(items.at(-1)!);
  }
}

export const manifestsOf = (catalog: Catalog, repository: string, options?: Options): AsyncGenerator<ManifestRecord> =>
  pages(
    (page) => catalog.manifests(repository, page, options),
    ({ digest }) => digest,
  );

export const tagsOf = (catalog: Catalog, repository: string, options?: Options): AsyncGenerator<TagRecord> =>
  pages(
    (page) => catalog.tags(repository, page, options),
    ({ tag }) => tag,
  );

export class Images {
  readonly #parts: ImageParts;

  constructor(parts: ImageParts) {
    this.#parts = parts;
  }

  /** All images, dangling ones included; members of indexes, and what only refers to another manifest, with `all`. Newest first. */
  async list(options?: ListOptions): Promise<readonly ListedImage[]> {
    const { catalog } = this.#parts;
    const repositories = await Array.fromAsync(
      pages(
        (page) => catalog.repositories(page, options),
        (name) => name,
      ),
    );
    const views = [];
    for (const repository of [...repositories, unnamed]) views.push(await this.#view(repository, options));
    const own = new Set(views.flatMap(({ images }) => [...images].filter(([, { member }]) => !member).map(([digest]) => digest)));
    const digests = [...new Set(views.flatMap(({ images }) => [...images.keys()]))].filter(
      (digest) => options?.all || own.has(digest),
    );
    const facts = await factsOf(this.#parts, digests, options);
    const images: ListedImage[] = [];
    for (const [i, digest] of digests.entries()) {
      const fact = facts[i];
      // Lost documents: a half-finished collection; nothing to show.
      if (fact === undefined) continue;
      const holding = views.filter((view) => view.images.has(digest));
      images.push({
        ...fact,
        names: holding.flatMap(({ repository, images: held }) => held.get(digest)!.tags.map((tag) => ({ repository, tag }))),
        repositories: holding.map(({ repository }) => repository).filter((repository) => repository !== unnamed),
        committed: Math.min(...holding.map((view) => view.images.get(digest)!.committed)),
        member: !own.has(digest),
      });
    }
    return images.sort((a, b) => createdAt(b) - createdAt(a) || b.committed - a.committed || (a.digest < b.digest ? -1 : 1));
  }

  /** The manifests of one repository with their tags. */
  async #view(repository: string, options?: Options) {
    const { catalog } = this.#parts;
    const manifests = await Array.fromAsync(manifestsOf(catalog, repository, options));
    const tags = new Map<Digest, string[]>();
    for await (const { tag, digest } of tagsOf(catalog, repository, options)) {
      tags.set(digest, [...(tags.get(digest) ?? []), tag]);
    }
    const members = await membersOf(this.#parts, manifests, options);
    const images = new Map<Digest, { readonly tags: readonly string[]; readonly committed: number; readonly member: boolean }>();
    for (const { digest, committed, subject } of manifests) {
      const own = tags.get(digest) ?? [];
      images.set(digest, { tags: own, committed, member: own.length === 0 && (members.has(digest) || subject !== undefined) });
    }
    return { repository, images };
  }

  /**
   * The image a user means: `name[:tag]`, `name[:tag]@digest`, an ID or the start of one (at least four digits). A name wins over an ID.
   * @throws NOT_FOUND `No such image: ...`; CONFLICT when the start of an ID fits several; INVALID_REFERENCE
   */
  async find(word: string, options?: Options): Promise<FoundImage> {
    const { catalog } = this.#parts;
    const id = idShape.exec(word)?.[1];
    if (isDigest(word)) return await this.#findId(word, word, options);
    if (id !== undefined && (id.length === 64 || word.startsWith('sha256:')))
      return await this.#findId(word, `sha256:${id}`, options);
    const reference = withDefaultTag(parseReference(word));
    const { repository, tag, digest } = reference;
    const record = await catalog.resolve(repository, digest ?? tag!, options);
    if (record && digest) return { digest, by: 'digest', repository };
    if (record) return { digest: record.digest, by: 'tag', repository, tag: tag! };
    if (id === undefined) throw noSuchImage(familiar(reference));
    return await this.#findId(word, `sha256:${id}`, options);
  }

  async #findId(word: string, prefix: string, options?: Options): Promise<FoundImage> {
    const { catalog } = this.#parts;
    const holders = await Array.fromAsync(
      pages(
        (page) => catalog.holders(prefix, page, options),
        ({ digest, repository }) => `${digest}#${repository}`,
      ),
    );
    let digests = [...new Set(holders.map(({ digest }) => digest))];
    if (digests.length > 1) {
      // Members of indexes and signatures are no images of their own, unless nothing else fits.
      const listed = new Set((await this.list(options)).map(({ digest }) => digest));
      const images = digests.filter((digest) => listed.has(digest));
      if (images.length > 0) digests = images;
    }
    const [digest] = digests;
    if (digest === undefined) throw noSuchImage(isDigest(word) || word.includes(':') ? word : `${word}:${defaultTag}`);
    if (digests.length > 1) {
      throw new SlipwayError('CONFLICT', `${word}: ambiguous: ${digests.length} images have IDs that start with it`, {
        hint: 'Give more digits of the ID.',
        details: { ids: digests.slice(0, 20) },
      });
    }
    return { digest, by: 'id' };
  }

  /** Where an image is and what it is called, from any of its repositories. */
  async whereIs(
    digest: Digest,
    options?: Options,
  ): Promise<{ readonly repositories: readonly string[]; readonly names: readonly Name[] }> {
    const { catalog } = this.#parts;
    const holders = await Array.fromAsync(
      pages(
        (page) => catalog.holders(digest, page, options),
        ({ repository }) => `${digest}#${repository}`,
      ),
    );
    const names: Name[] = [];
    for (const { repository } of holders) {
      for await (const { tag, digest: at } of tagsOf(catalog, repository, options))
        if (at === digest) names.push({ repository, tag });
    }
    return { repositories: holders.map(({ repository }) => repository), names };
  }

  /** Gives an image one more name (F19): both are equal pointers, no data is copied. A name that exists is moved. */
  async tag(source: string, target: string, options?: Options): Promise<void> {
    const { digest } = await this.find(source, options);
    const { repository, tag } = parseTarget(target);
    await this.name(digest, [{ repository, tag }], options);
  }

  /** Gives a stored image names, all in one transaction. */
  async name(digest: Digest, names: readonly Name[], options?: Options): Promise<void> {
    const repositories = [...new Set(names.map(({ repository }) => repository))];
    const commits: RepositoryCommit[] = [];
    for (const repository of repositories) {
      const tags = names.filter((name) => name.repository === repository).map(({ tag }) => tag);
      commits.push(...(await commitsOf(this.#parts.blobs, repository, digest, tags, options)));
    }
    await this.#parts.catalog.commitAll(commits, options);
  }

  /** The names that a word for saving or removing covers: `name` alone means all its tags. */
  async namesFor(word: string, options?: Options): Promise<readonly (FoundImage & { readonly tag: string })[]> {
    const reference = parseReference(word);
    if (reference.tag !== undefined || reference.digest !== undefined) return [];
    const found = [];
    for await (const { tag, digest } of tagsOf(this.#parts.catalog, reference.repository, options)) {
      found.push({ digest, by: 'tag' as const, repository: reference.repository, tag });
    }
    return found;
  }
}

export const createdAt = ({ created, committed }: Pick<ListedImage, 'created' | 'committed'>): number => {
  const time = created === undefined ? Number.NaN : Date.parse(created);
  return Number.isNaN(time) ? committed * 1000 : time;
};

/** Digests that some index among `manifests` names. */
export async function membersOf(
  parts: ImageParts,
  manifests: readonly ManifestRecord[],
  options?: Options,
): Promise<ReadonlySet<Digest>> {
  const indexes = manifests.filter(({ mediaType }) => isIndexType(mediaType)).map(({ digest }) => digest);
  if (indexes.length === 0) return new Set();
  return new Set((await factsOf(parts, indexes, options)).flatMap((facts) => facts?.members ?? []));
}

/** The commits that put a stored image into a repository: members of an index first, each with the links it needs. */
export async function commitsOf(
  blobs: Blobs,
  repository: string,
  digest: Digest,
  tags: readonly string[],
  options?: Options,
  depth = 0,
): Promise<readonly RepositoryCommit[]> {
  if (depth > nestingLimit)
    throw new SlipwayError('INVALID_DOCUMENT', `${digest}: indexes are nested more than ${nestingLimit} deep`);
  for (const tag of tags) if (!isTag(tag)) throw new SlipwayError('INVALID_REFERENCE', `${JSON.stringify(tag)} is not a tag`);
  const { bytes, document } = await readStored(blobs, digest, undefined, options);
  const own = { repository, bytes, mediaType: document.mediaType, digest, tags };
  if (document.kind === 'manifest') {
    const { config, layers } = document.manifest;
    return [
      {
        ...own,
        links: [config, ...layers].filter((blob) => !isForeign(blob)).map(({ digest: d, size }) => ({ digest: d, size })),
      },
    ];
  }
  const members: RepositoryCommit[] = [];
  for (const member of document.index.manifests) {
    members.push(...(await commitsOf(blobs, repository, member.digest, [], options, depth + 1)));
  }
  return [...members, own];
}
