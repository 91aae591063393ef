// ADD of a URL: downloaded once to the side, keyed on its content (F80: never on its time), then a file like any other.
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { STATUS_CODES } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import { algorithmOf } from '../oci/digest.ts';
import { treeWithAccounts } from './accounts.ts';
import { copyEntries, nameFromUrl } from './copy-entries.ts';
import { contentDigest, contentParts, looseFile } from './copy-match.ts';
import { copyTarget } from './copy-target.ts';
import type { Prepared, StepInput } from './executor.ts';
import type { StagePorts } from './ports.ts';

/** Docker gives what it downloads this mode. */
const mode = 0o600;

export async function prepareFetch({ operation, image, input, ports, stored }: StepInput<'fetch'>): Promise<Prepared> {
  const { destination, url, checksum } = operation;
  const name = destination.endsWith('/') ? nameFromUrl(url) : (destination.split('/').at(-1) as string);
  const scratch = await ports.scratch();
  try {
    const file = join(scratch.path, 'download');
    const { digest, size, mtime } = await download(url, file, checksum, ports);
    const matches = [looseFile(name, { digest, size, mode, ...(mtime === undefined ? {} : { mtime }) })];
    const target = copyTarget(operation);
    return {
      key: { kind: 'fetch', name, ...target, content: contentDigest(contentParts(matches, target)) },
      async make() {
        const { epoch } = input.plan;
        const { signal } = ports;
        const parent = await treeWithAccounts(operation.chown, { image, ports, stored });
        const entries = await copyEntries(matches, target, {
          parent,
          bodyOf: () => ({ kind: 'file', path: file, offset: 0 }),
          time: epoch ?? 0,
          scratch: scratch.path,
          signal,
        });
        return ports.layers.write(entries, undefined, { signal, ...(epoch === undefined ? {} : { epoch }) });
      },
      close: async () => scratch[Symbol.asyncDispose](),
    };
  } catch (error) {
    await scratch[Symbol.asyncDispose]();
    throw error;
  }
}

interface Downloaded {
  readonly digest: Digest;
  readonly size: number;
  /** Seconds, of Last-Modified. */
  readonly mtime?: number;
}

async function download(
  url: string,
  file: string,
  checksum: Digest | undefined,
  { download: get, signal }: Pick<StagePorts, 'download' | 'signal'>,
): Promise<Downloaded> {
  const failed = (cause: unknown): SlipwayError => {
    if (signal.aborted) return new SlipwayError('CANCELLED', 'cancelled', { cause });
    const why = cause instanceof Error ? cause.message : String(cause);
    return new SlipwayError(cause instanceof SlipwayError ? cause.code : 'UPSTREAM', `failed to load ${url}: ${why}`, { cause });
  };
  let response: Awaited<ReturnType<typeof get>>;
  try {
    response = await get(new URL(url), signal);
  } catch (cause) {
    throw failed(cause);
  }
  const { status, body, modified } = response;
  if (status < 200 || status > 299) {
    body.destroy();
    throw new SlipwayError(
      'UPSTREAM',
      `failed to load ${url}: the server answered ${status} ${STATUS_CODES[status] ?? ''}`.trimEnd(),
    );
  }
  const hash = createHash('sha256');
  const asked = checksum === undefined || algorithmOf(checksum) === 'sha256' ? undefined : createHash(algorithmOf(checksum));
  let size = 0;
  try {
    await pipeline(
      body,
      async function* (source: AsyncIterable<Uint8Array>) {
        for await (const chunk of source) {
          hash.update(chunk);
          asked?.update(chunk);
          size += chunk.length;
          yield chunk;
        }
      },
      createWriteStream(file, { highWaterMark: 1024 * 1024 }),
      { signal },
    );
  } catch (cause) {
    throw failed(cause);
  }
  const digest: Digest = `sha256:${hash.digest('hex')}`;
  const found =
    asked === undefined || checksum === undefined ? digest : (`${algorithmOf(checksum)}:${asked.digest('hex')}` as Digest);
  if (checksum !== undefined && found !== checksum) {
    throw new SlipwayError('DIGEST_MISMATCH', `${url} has the digest ${found}, and ${checksum} was expected`, {
      hint: 'the file changed at its source, or the checksum in the Dockerfile is of another one',
    });
  }
  const time = Date.parse(modified ?? '');
  return { digest, size, ...(Number.isNaN(time) ? {} : { mtime: Math.floor(time / 1000) }) };
}
