import { defineCommand, UsageError } from '../command.ts';
import { humanSize } from '../human.ts';
import { print, warn } from '../io.ts';
import { confirmed, pruneImages, pruneOptions, strangeFilter } from '../prune-images.ts';

export const command = defineCommand({
  name: 'system prune',
  summary: 'Free everything in the home that is not needed',
  usage: '[OPTIONS]',
  description: `Removes the images without a name, and then all that no image needs: what the build cache has of stages and of failed builds, contexts,
pushes that were never finished, unpacked layers. The next build makes again what it misses. With --all every image goes, too.

What another slipway command, or a server, may be about to use stays, and you are told: run it again when that has ended.
An account does this by itself, once a day.`,
  examples: [
    ['slipway system prune', 'After a question'],
    ['slipway system prune -f', 'Without one'],
    ['slipway system prune -af', 'Everything: an empty home'],
  ],
  options: pruneOptions,
  thisMachine: 'refuse',
  namespace: 'preferred',
  args: { min: 0, max: 0 },
  async run({ options, io, api, home }) {
    const strange = strangeFilter(options.filter);
    if (strange !== undefined)
      throw new UsageError('system prune', `invalid filter '${strange}': until=, label= and label!= are there`);
    const all = options.all === true;
    const warning = `This will remove:
  - all ${all ? 'images' : 'dangling images'}${options.filter.length > 0 ? ` that fit ${options.filter.join(', ')}` : ''}
  - everything that is in no image: build cache, contexts, unfinished pushes`;
    if (options.force !== true && !(await confirmed(io, warning))) return 0;
    const images = await pruneImages(io, await api(), { all, filters: options.filter });
    const { pruneHome } = await import('../../local/prune.ts');
    const freed = await pruneHome(await home(), { signal: io.signal });
    if (freed.blobs > 0) await print(io, `Deleted ${freed.blobs} unused ${freed.blobs === 1 ? 'blob' : 'blobs'}\n`);
    await print(io, `Total reclaimed space: ${humanSize(images + freed.bytes + freed.strayBytes)}`);
    if (freed.disturbed && freed.waiting > 0) {
      await warn(
        io,
        `Note: ${humanSize(freed.waitingBytes)} more is unused, and stays: another slipway process or build is at work in this home and may be about to use it. Run this again when it has ended.`,
      );
    }
    return 0;
  },
});
