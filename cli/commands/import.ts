import type { ImportedImage } from '../../shared/api/images.ts';
import { SlipwayError } from '../../shared/errors.ts';
import { formatPlatform, hostPlatform } from '../../shared/oci/platform.ts';
import { query } from '../api-client.ts';
import { defineCommand } from '../command.ts';
import { fileBytes, stdinBytes } from '../input.ts';
import { type Io, isTerminal, print } from '../io.ts';
import { ofAnySize } from '../of-any-size.ts';

export const command = defineCommand({
  name: 'import',
  summary: 'Make an image of a root filesystem',
  usage: '[OPTIONS] file|URL|- [REPOSITORY[:TAG]]',
  description: `Reads a tar of a root filesystem, plain or compressed with gzip, bzip2, xz or zstd, and makes an image of one layer with an
empty config. Use --change to set what a container needs to start. Prints the image ID.
For archives of images ('docker save', 'slipway save') use 'slipway load'.
For a home in an account, what is too large for one request (4.5 MB) needs a name: the layer is made in a temporary folder here (TMPDIR
chooses where) and sent to the registry there.`,
  examples: [
    ['slipway import rootfs.tar.gz base:1.0 -c \'CMD ["/bin/sh"]\'', 'From a file, with a command to run'],
    [
      'debootstrap --variant=minbase bookworm root && tar -C root -c . | slipway import - debian:min',
      'From a folder made just now',
    ],
    ['slipway import https://example.com/rootfs.tar.xz', 'From the web, without a name'],
    [
      'slipway import --platform linux/arm64 -m "vendor drop 7" rootfs.tar vendor',
      'For another platform, with a message in its history',
    ],
  ],
  options: {
    change: { type: 'string', short: 'c', multiple: true, help: 'Apply a Dockerfile instruction to the config' },
    message: { type: 'string', short: 'm', help: 'Set the comment in the history' },
    platform: { type: 'string', value: 'os/arch', help: 'What the root filesystem is for (default: this machine)' },
  },
  args: { min: 1, max: 2 },
  async run({ args, options, io, api, remote }) {
    const [source = '', name] = args;
    const client = await api();
    const { change, message } = options;
    // This machine's, and not that of the home.
    const platform = options.platform ?? formatPlatform(hostPlatform());
    const request = { name, change, message, platform, source };
    const { body, registry } = await ofAnySize(await bytesOf(io, source), { api, remote });
    if (registry !== undefined) {
      const { importElsewhere } = await import('../load-elsewhere.ts');
      await print(io, (await importElsewhere(io, registry, body, request)).id);
      return 0;
    }
    const response = await client.send('POST', `/api/v1/images/import${query(request)}`, body);
    const { id } = await client.answer<ImportedImage>(response);
    await print(io, id);
    return 0;
  },
});

async function bytesOf(io: Io, source: string): Promise<AsyncIterable<Uint8Array>> {
  if (/^https?:\/\//.test(source)) return await download(source, io.signal);
  if (source !== '-') return fileBytes(io, source);
  if (isTerminal(io.stdin)) {
    throw new SlipwayError('USAGE', 'requested import from stdin, but stdin is a terminal', {
      hint: 'Pipe a tar in, or name a file.',
    });
  }
  return stdinBytes(io);
}

/** Fetched by this process, with the network that its user has. */
async function download(url: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  let response: Response;
  try {
    response = await fetch(url, { signal, redirect: 'follow' });
  } catch (cause) {
    if (signal.aborted) throw new SlipwayError('CANCELLED', 'cancelled', { cause });
    const why = cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : String(cause);
    throw new SlipwayError('UPSTREAM', `cannot download ${url}: ${why}`, { cause });
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    throw new SlipwayError('UPSTREAM', `cannot download ${url}: the server answered ${response.status} ${response.statusText}`);
  }
  return response.body;
}
