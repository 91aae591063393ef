// Images over the control API: list, inspect, history, tag, remove, save, load, import.
//
//   GET    /api/v1/images?all&filter=name=value          the list
//   GET    /api/v1/images/NAME/inspect?platform          one image, in docker's shape
//   GET    /api/v1/images/NAME/history?platform
//   POST   /api/v1/images/NAME/tag {target}
//   DELETE /api/v1/images/NAME?force                     what went, in order
//   POST   /api/v1/images/save {names, platform?}        a tar
//   POST   /api/v1/images/load?platform                  a tar in, one event a line out
//   POST   /api/v1/images/import?name&change&message&platform&source    a tar in
import * as z from 'zod/mini';
import type { ArchivedImage } from '../archive/load.ts';
import type { Action } from '../auth/scope.ts';
import type { ListedImage } from '../image/images.ts';
import type { InspectedImage, HistoryRow as Row } from '../image/inspect.ts';
import { hostPlatform, type Platform, parsePlatform } from '../oci/platform.ts';
import { parseTarget, withoutHost } from '../oci/reference.ts';
import type { Options } from '../store/blobs.ts';
import type { Access } from './access.ts';
import { type ApiRequest, json, ndjson, readJson, stream } from './http.ts';
import type { ApiParts } from './parts.ts';
import { type Call, type Route, route } from './router.ts';
import { checked } from './schema.ts';

export const tagRequest = z.object({ target: z.string() });
export const saveRequest = z.object({ names: z.array(z.string()).check(z.minLength(1)), platform: z.optional(z.string()) });

export type TagRequest = z.infer<typeof tagRequest>;
export type SaveRequest = z.infer<typeof saveRequest>;

export interface ImageSummary {
  readonly id: string;
  /** `repository:tag`; none when the image is dangling. */
  readonly names: readonly string[];
  /** `repository@digest`. */
  readonly digests: readonly string[];
  readonly kind: 'image' | 'index' | 'artifact';
  readonly mediaType: string;
  /** RFC 3339. */
  readonly created?: string;
  /** Seconds since 1970 at which it came into this home. */
  readonly committed: number;
  /** Bytes as stored. */
  readonly size: number;
  readonly platforms: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  /** A member of an index, or a referrer. */
  readonly member?: true;
}
export type ImageDetails = InspectedImage;
export type HistoryRow = Row;
export interface RemovedImage {
  readonly lines: readonly ({ readonly untagged: string } | { readonly deleted: string })[];
  /** Bytes of layers and documents that are gone with it. */
  readonly freed: number;
}
export type LoadEvent =
  | { readonly loaded: string; readonly id: string }
  | { readonly loadedId: string }
  | { readonly note: string };
export interface ImportedImage {
  readonly id: string;
}

const optionsOf = ({ signal }: ApiRequest): Options => (signal === undefined ? {} : { signal });

function platformOf(text: string | null | undefined): { readonly platform?: Platform } {
  return text ? { platform: parsePlatform(text, hostPlatform()) } : {};
}

export function imageRoutes(parts: ApiParts): readonly Route[] {
  const may = async (access: Access, word: string, action: Action, options: Options): Promise<void> => {
    if (access.caller === undefined) return;
    const { checkImage } = await import('./image-access.ts');
    await checkImage(parts, access, word, action, options);
  };
  const { host } = parts;
  const named = (params: Call['params']): string => withoutHost(params.name as string, host);
  return [
    route('GET', '/api/v1/images', async ({ request, query, access }) => {
      access.require('catalog');
      const { Images } = await import('../image/images.ts');
      const { filterImages } = await import('../image/filters.ts');
      const options = optionsOf(request);
      const images = await new Images(parts).list({ ...options, all: query.has('all') });
      return json((await filterImages(parts, images, query.getAll('filter'), options)).map(summary));
    }),
    route('GET', '/api/v1/images/:name+/inspect', async ({ request, params, query, access }) => {
      await may(access, named(params), 'pull', optionsOf(request));
      const { inspectImage } = await import('../image/inspect.ts');
      return json(await inspectImage(parts, named(params), { ...optionsOf(request), ...platformOf(query.get('platform')) }));
    }),
    route('GET', '/api/v1/images/:name+/history', async ({ request, params, query, access }) => {
      await may(access, named(params), 'pull', optionsOf(request));
      const { historyOf } = await import('../image/inspect.ts');
      return json(await historyOf(parts, named(params), { ...optionsOf(request), ...platformOf(query.get('platform')) }));
    }),
    route('POST', '/api/v1/images/:name+/tag', async ({ request, params, access }) => {
      const options = optionsOf(request);
      const { Images } = await import('../image/images.ts');
      const target = withoutHost(checked(tagRequest, await readJson(request), 'tag request').target, host);
      mayName(access, [parseTarget(target)]);
      await may(access, named(params), 'pull', options);
      await new Images(parts).tag(named(params), target, options);
      return json({}, 201);
    }),
    route('DELETE', '/api/v1/images/:name+', async ({ request, params, query, access }) => {
      await may(access, named(params), 'delete', optionsOf(request));
      const { removeImage } = await import('../image/remove.ts');
      let freed = 0;
      const { atWork } = parts;
      const removing = atWork === undefined ? parts : { ...parts, alsoNeeded: () => atWork() };
      const lines = await removeImage(removing, named(params), {
        ...optionsOf(request),
        force: query.has('force'),
        onFreed(bytes) {
          freed += bytes;
        },
      });
      if (lines.some((line) => 'deleted' in line)) await parts.tidy?.();
      const answer: RemovedImage = { lines, freed };
      return json(answer);
    }),
    route('POST', '/api/v1/images/save', async ({ request, access }) => {
      const { saveImages } = await import('../archive/save.ts');
      const { names: given, platform } = checked(saveRequest, await readJson(request), 'save request');
      const names = given.map((name) => withoutHost(name, host));
      if (access.caller !== undefined) {
        const { checkSaving } = await import('./image-access.ts');
        await checkSaving(parts, access, names, optionsOf(request));
      }
      return stream(await saveImages(parts, names, { ...optionsOf(request), ...platformOf(platform) }), 'application/x-tar');
    }),
    // Told when it is done: what a token lacks is then a 401 as anywhere, after which a client asks for it and sends the archive again.
    route('POST', '/api/v1/images/load', async ({ request, query, access }) => ndjson(await load(parts, request, query, access))),
    route('POST', '/api/v1/images/import', async ({ request, query, access }) => {
      using _working = parts.working?.();
      const { importImage } = await import('../archive/import.ts');
      const name = query.get('name');
      const target = name ? parseTarget(withoutHost(name, host)) : undefined;
      mayName(access, target ? [target] : []);
      const { digest } = await importImage(parts, request.body ?? nothing(), {
        ...optionsOf(request),
        platform: platformOf(query.get('platform')).platform ?? hostPlatform(),
        ...(target && { names: [{ repository: target.repository, tag: target.tag }] }),
        changes: query.getAll('change'),
        message: query.get('message') ?? '',
        source: query.get('source') ?? '-',
        by: 'import',
      });
      const answer: ImportedImage = { id: digest };
      return json(answer, 201);
    }),
  ];
}

async function* nothing(): AsyncGenerator<Uint8Array> {
  // A request without a body is an empty archive.
}

/** Images without a name are found by ID only, which is for who sees the whole list. */
function mayName(access: Access, names: readonly { readonly repository: string }[]): void {
  if (names.length === 0) access.require('catalog');
  access.require(...names.map(({ repository }) => ({ name: repository, action: 'push' as const })));
}

async function load(
  parts: ApiParts,
  request: ApiRequest,
  query: URLSearchParams,
  access: Access,
): Promise<AsyncIterable<LoadEvent>> {
  using _working = parts.working?.();
  const { loadArchive } = await import('../archive/load.ts');
  const { images } = await loadArchive(parts, request.body ?? nothing(), {
    ...optionsOf(request),
    ...platformOf(query.get('platform')),
    by: 'load',
    rename: (repository) => withoutHost(repository, parts.host),
    check: (names) => mayName(access, names),
  });
  return ReadableStream.from(images.flatMap(eventsOf));
}

function eventsOf({ digest, names, note }: ArchivedImage): LoadEvent[] {
  return [
    ...(note === undefined ? [] : [{ note }]),
    ...(names.length === 0 ? [{ loadedId: digest }] : []),
    ...names.map(({ repository, tag }) => ({ loaded: `${repository}:${tag}`, id: digest })),
  ];
}

function summary(image: ListedImage): ImageSummary {
  const { digest, kind, mediaType, created, committed, size, platforms, labels, member } = image;
  return {
    id: digest,
    names: image.names.map(({ repository, tag }) => `${repository}:${tag}`),
    digests: image.repositories.map((repository) => `${repository}@${digest}`),
    kind,
    mediaType,
    ...(created !== undefined && { created }),
    committed,
    size,
    platforms,
    ...(labels && { labels }),
    ...(member && { member }),
  };
}
