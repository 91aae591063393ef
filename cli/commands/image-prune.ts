import { defineCommand, UsageError } from '../command.ts';
import { humanSize } from '../human.ts';
import { print } from '../io.ts';
import { confirmed, pruneImages, pruneOptions, strangeFilter } from '../prune-images.ts';

export const command = defineCommand({
  name: 'image prune',
  summary: 'Remove images without a name',
  usage: '[OPTIONS]',
  description: `Removes the images that have no tag (any more), and with them the layers that no other image needs. With --all every image goes, named
or not: Slipway keeps no containers that could hold one back. \`slipway system prune\` frees what is in no image as well.

In an account other people's deployments may name an image by its digest, tag or no tag: look before you say yes. --all is refused there.`,
  examples: [
    ['slipway image prune', 'Images without a name, after a question'],
    ['slipway image prune -f --filter until=240h', 'Those older than ten days, without one'],
    ['slipway image prune -a --filter label=stage=test', 'Every image labelled so'],
  ],
  options: pruneOptions,
  namespace: 'preferred',
  args: { min: 0, max: 0 },
  async run({ options, io, api, remote }) {
    const strange = strangeFilter(options.filter);
    if (strange !== undefined)
      throw new UsageError('image prune', `invalid filter '${strange}': until=, label= and label!= are there`);
    const all = options.all === true;
    const elsewhere = await remote();
    if (all && elsewhere !== undefined) {
      throw new UsageError(
        'image prune',
        `--all would remove every image at ${elsewhere.endpoint.url}: remove them by name there`,
      );
    }
    const where = elsewhere === undefined ? '' : ` at ${elsewhere.endpoint.url}`;
    const warning = all ? `This will remove all images${where}.` : `This will remove all dangling images${where}.`;
    if (options.force !== true && !(await confirmed(io, warning))) return 0;
    const bytes = await pruneImages(io, await api(), { all, filters: options.filter });
    await print(io, `Total reclaimed space: ${humanSize(bytes)}`);
    return 0;
  },
});
