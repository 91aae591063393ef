import type { LoadEvent } from '../../shared/api/images.ts';
import { SlipwayError } from '../../shared/errors.ts';
import { query } from '../api-client.ts';
import { type Call, defineCommand, type Options } from '../command.ts';
import { fileBytes, stdinBytes } from '../input.ts';
import { isTerminal, print, warn } from '../io.ts';
import { ofAnySize } from '../of-any-size.ts';

export const command = defineCommand({
  name: 'load',
  summary: 'Load images from an archive',
  usage: '[OPTIONS]',
  description: `Reads what 'slipway save', 'docker save', 'podman save', buildx and skopeo write: OCI layouts and docker archives, plain or
compressed with gzip, bzip2, xz or zstd. Names, history and IDs come back as they were; a name that exists is moved.
Everything is verified. If anything in the archive is wrong, nothing is loaded and no name is moved.
For a home in an account, an archive that is too large for one request (4.5 MB) is unpacked and verified in a temporary folder here, which
takes as much room as the images do (TMPDIR chooses where); then its images, which need names, are sent to the registry there.`,
  examples: [
    ['slipway load -i app.tar', 'From a file'],
    ['docker save app | slipway load', 'From docker on the same machine'],
    ['slipway load --platform linux/arm64 -i all.tar', 'One platform of what is in it'],
  ],
  options: {
    input: { type: 'string', short: 'i', help: 'Read from a file, instead of standard input' },
    platform: { type: 'string', value: 'os/arch', help: 'Load only this platform of multi-platform images' },
    quiet: { type: 'boolean', short: 'q', help: 'Print nothing but errors' },
  },
  args: { min: 0, max: 0 },
  async run({ options, io, api, remote }) {
    const { input, platform } = options;
    if (input === undefined && isTerminal(io.stdin)) {
      throw new SlipwayError('USAGE', 'requested load from stdin, but stdin is empty', {
        hint: 'Name a file with -i, or pipe an archive in.',
      });
    }
    const body = input === undefined ? stdinBytes(io) : fileBytes(io, input);
    for await (const event of loading(body, platform, { io, api, remote })) {
      if ('note' in event) await warn(io, `Note: ${event.note}`);
      else if (!options.quiet)
        await print(io, 'loaded' in event ? `Loaded image: ${event.loaded}` : `Loaded image ID: ${event.loadedId}`);
    }
    return 0;
  },
});

type World = Pick<Call<Options>, 'io' | 'api' | 'remote'>;

async function* loading(
  archive: AsyncIterable<Uint8Array>,
  platform: string | undefined,
  world: World,
): AsyncGenerator<LoadEvent> {
  const { body, registry } = await ofAnySize(archive, world);
  if (registry === undefined) {
    yield* (await world.api()).events<LoadEvent>('POST', `/api/v1/images/load${query({ platform })}`, undefined, body);
    return;
  }
  const { loadElsewhere } = await import('../load-elsewhere.ts');
  yield* await loadElsewhere(world.io, registry, body, platform);
}
