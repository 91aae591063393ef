// Whether what a command was given goes to the home in one request.
import type { Call, Options } from './command.ts';
import type { HomeRegistry } from './home-registry.ts';

export interface Outgoing {
  readonly body: AsyncIterable<Uint8Array>;
  /** By which it has to go instead. Absent: the home's API takes it. */
  readonly registry?: HomeRegistry;
}

export async function ofAnySize(
  body: AsyncIterable<Uint8Array>,
  { api, remote }: Pick<Call<Options>, 'api' | 'remote'>,
): Promise<Outgoing> {
  if ((await remote()) === undefined) return { body };
  const { homeRegistry } = await import('./home-registry.ts');
  const registry = await homeRegistry({ api, remote });
  if (registry === undefined) return { body };
  const [{ inMemory }, { BytesBody }] = await Promise.all([import('./short-body.ts'), import('./api-client.ts')]);
  const start = await inMemory(body, registry.limits.request);
  return start instanceof BytesBody ? { body: start } : { body: start, registry };
}
