// `load` and `import` of more than a home elsewhere takes in one request: done in a temporary home here, and sent by the registry there.
import type { ImportedImage, LoadEvent } from '../shared/api/images.ts';
import { SlipwayError } from '../shared/errors.ts';
import type { Digest } from '../shared/oci/digest.ts';
import { parseTarget, withoutHost } from '../shared/oci/reference.ts';
import { query } from './api-client.ts';
import { type HomeRegistry, type NamedImage, pathOf, sendImages } from './home-registry.ts';
import type { Io } from './io.ts';
import { temporaryHome } from './temporary-home.ts';

/** What a load tells, once all of it is done. */
export async function loadElsewhere(
  io: Io,
  registry: HomeRegistry,
  archive: AsyncIterable<Uint8Array>,
  platform: string | undefined,
): Promise<readonly LoadEvent[]> {
  await using here = await temporaryHome(io);
  const load = here.api.events<LoadEvent>('POST', `/api/v1/images/load${query({ platform })}`, undefined, archive);
  const events = await here.filling(() => Array.fromAsync(load));
  for (const event of events) if ('loadedId' in event) throw nameless(event.loadedId, registry);
  const loaded = events.flatMap((event) => ('loaded' in event ? [event] : []));
  const images = loaded.map(({ loaded: name, id }): NamedImage => ({ digest: id as Digest, name: parseTarget(name) }));
  await sendImages(here, images, registry, io.signal);
  return events.map((event) => ('loaded' in event ? { ...event, loaded: withoutHost(event.loaded, registry.names) } : event));
}

const nameless = (id: string, { names, url, limits }: HomeRegistry): SlipwayError =>
  new SlipwayError(
    'UNSUPPORTED',
    `the archive has an image without a name, ${id}: the registry of ${url} keeps images by their names, and what is larger than ${limits.request / 1e6} MB goes by the registry`,
    {
      hint: `Load it on this machine (slipway --context default load), name it (slipway --context default tag ${id.slice(7, 19)} ${names}/NAME:TAG), and push that.`,
      details: { image: id },
    },
  );

export interface ImportRequest {
  readonly name: string | undefined;
  readonly change: readonly string[];
  readonly message: string | undefined;
  readonly platform: string;
  /** What the history calls it. */
  readonly source: string;
}

export async function importElsewhere(
  io: Io,
  registry: HomeRegistry,
  archive: AsyncIterable<Uint8Array>,
  request: ImportRequest,
): Promise<ImportedImage> {
  const { name, ...rest } = request;
  if (name === undefined) {
    throw new SlipwayError(
      'UNSUPPORTED',
      `an image without a name can only be made of ${registry.limits.request / 1e6} MB at ${registry.url}: its registry keeps images by their names`,
      { hint: `Give it one: slipway import ${request.source} NAME[:TAG]` },
    );
  }
  const target = parseTarget(withoutHost(name, registry.names));
  pathOf(target.repository, registry.names);
  await using here = await temporaryHome(io);
  const path = `/api/v1/images/import${query({ ...rest, name: `${target.repository}:${target.tag}` })}`;
  const imported = await here.filling(async () => here.api.answer<ImportedImage>(await here.api.send('POST', path, archive)));
  await sendImages(here, [{ digest: imported.id as Digest, name: target }], registry, io.signal);
  return imported;
}
