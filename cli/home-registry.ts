// Images on their way to and from a home elsewhere that takes no large requests: by its registry, which takes layers of any size. Loaded
// only for such a home.
import type { About } from '../shared/api/about.ts';
import { pushContents } from '../shared/client/push.ts';
import type { RegistryClient, RemoteManifest } from '../shared/client/registry-client.ts';
import { isCode, SlipwayError, throwIfCancelled } from '../shared/errors.ts';
import type { Name } from '../shared/image/commit.ts';
import { Images } from '../shared/image/images.ts';
import type { Digest } from '../shared/oci/digest.ts';
import { isRepositoryPath, type Reference, withoutHost } from '../shared/oci/reference.ts';
import type { Call, Options } from './command.ts';
import type { TemporaryHome } from './temporary-home.ts';

export interface HomeRegistry {
  readonly client: RegistryClient;
  /** Of the home, for messages. */
  readonly url: string;
  /** What the home's images have before their names for others. */
  readonly names: string;
  /** Bytes. */
  readonly limits: { readonly request: number; readonly answer: number };
}

/** The registry of the chosen home. Undefined where the home takes everything by its API: on this machine, and where that says so. */
export async function homeRegistry({ api, remote }: Pick<Call<Options>, 'api' | 'remote'>): Promise<HomeRegistry | undefined> {
  const elsewhere = await remote();
  if (elsewhere === undefined) return undefined;
  const { limits, registry: names } = await (await api()).json<About>('GET', '/api/v1');
  if (limits === undefined || names === undefined) return undefined;
  return { client: elsewhere.registry(), url: elsewhere.endpoint.url, names, limits };
}

export interface NamedImage {
  readonly digest: Digest;
  readonly name: Name;
}

interface Target extends NamedImage {
  /** The repository at the registry. */
  readonly path: string;
}

/**
 * Sends images of a temporary home and names them there. No name is moved before everything that all of them need is there.
 * @throws INVALID_REFERENCE for a name that the registry cannot have, before anything is sent; DENIED; UPSTREAM
 */
export async function sendImages(
  { home }: TemporaryHome,
  images: readonly NamedImage[],
  { client, url, names }: HomeRegistry,
  signal: AbortSignal,
): Promise<void> {
  const targets = images.map(({ digest, name }): Target => ({ digest, name, path: pathOf(name.repository, names) }));
  // As if they had been pulled from there: what several of them share is sent once, and mounted.
  const local = (path: string): string => `${client.host}/${path}`;
  const here = new Images(home.parts);
  for (const { digest, name, path } of targets) await here.name(digest, [{ repository: local(path), tag: name.tag }], { signal });
  const sent = new Map<string, RemoteManifest>();
  for (const { digest, name, path } of targets) {
    const key = `${path}@${digest}`;
    if (sent.has(key)) continue;
    const reference = { host: client.host, path, repository: local(path), tag: name.tag } satisfies Reference;
    sent.set(key, await inWords(url, path, signal, () => pushContents(home.parts, client, { reference, signal })));
  }
  const moved: string[] = [];
  try {
    for (const { digest, name, path } of targets) {
      const manifest = sent.get(`${path}@${digest}`) as RemoteManifest;
      await inWords(url, path, signal, () => client.putManifest(path, name.tag, manifest, signal));
      moved.push(`${path}:${name.tag}`);
    }
  } catch (error) {
    if (moved.length === 0 || !(error instanceof SlipwayError)) throw error;
    throw new SlipwayError(error.code, error.message, {
      hint: `${moved.join(', ')} ${moved.length === 1 ? 'was' : 'were'} moved before that. Run the command again for the rest: what is there is not sent again.`,
      details: { ...error.details, moved },
      cause: error,
    });
  }
}

/** A repository's path at the registry. INVALID_REFERENCE where it can have none. */
export function pathOf(repository: string, names: string): string {
  const path = withoutHost(repository, names);
  if (isRepositoryPath(path)) return path;
  throw new SlipwayError('INVALID_REFERENCE', `${repository} is not a name that the registry ${names} can have`, {
    hint: `Give the image one: letters in lower case, digits, and . _ - / inside, e.g. ${names}/${path.replace(/^.*:\d+\//, '').toLowerCase()}.`,
  });
}

/** A refusal as the API says it. */
async function inWords<T>(url: string, path: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throwIfCancelled(signal);
    if (!isCode(error, 'UNAUTHORIZED', 'DENIED')) throw error;
    const scope = `repository:${path}:pull,push`;
    throw new SlipwayError('DENIED', `${url}: this login may not do that: it has no grant for ${scope}`, {
      hint: `Whoever keeps the accounts of that home can give one; another login is stored with slipway login ${url}.`,
      details: { scope },
      cause: error,
    });
  }
}
