import type { RemovedImage } from '../../shared/api/images.ts';
import { isCode } from '../../shared/errors.ts';
import { query } from '../api-client.ts';
import { defineCommand } from '../command.ts';
import { eachWord } from '../each-word.ts';
import { imagePath } from '../image-path.ts';
import { print } from '../io.ts';

export const command = defineCommand({
  name: 'rm',
  summary: 'Remove images',
  usage: '[OPTIONS] IMAGE [IMAGE...]',
  description: `By name, the name goes; the image goes with its last name, and with it the layers that no other image needs: their disk
space is free at once, unless another command or build is at work that may be using them: then \`slipway system prune\` frees them. By ID, all names go; if they are
in several repositories, only with --force.
Nothing in any registry is touched. Layers that a later build could have taken from the cache are made again when they are needed.`,
  examples: [
    ['slipway rm app:1.0', 'Remove a name, and the image if it was the last one'],
    ['slipway rm -f 3c4d5e6f7a8b', 'Remove an image with all its names'],
    ['slipway rm $(slipway images -q --filter dangling=true)', 'Remove all images without a name'],
  ],
  options: {
    force: { type: 'boolean', short: 'f', help: 'Also names in several repositories; an image that is not there is no failure' },
  },
  args: { min: 1 },
  // What an ordinary user's builds unpacked belongs to subordinate ids.
  namespace: 'preferred',
  async run({ args, options, io, api }) {
    const client = await api();
    const force = options.force === true;
    return await eachWord(
      args,
      io,
      async (word) => {
        const { lines } = await client.json<RemovedImage>('DELETE', imagePath(word) + query({ force }));
        for (const line of lines) await print(io, 'untagged' in line ? `Untagged: ${line.untagged}` : `Deleted: ${line.deleted}`);
      },
      (error) => force && isCode(error, 'NOT_FOUND'),
    );
  },
});
