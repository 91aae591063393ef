import type { TagRequest } from '../../shared/api/images.ts';
import { defineCommand } from '../command.ts';
import { imagePath } from '../image-path.ts';

export const command = defineCommand({
  name: 'tag',
  summary: 'Give an image another name',
  usage: 'SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]',
  description: `Both names are equal pointers to one image: there is no original, nothing is copied, and removing either leaves the other.
TARGET without a tag means :latest. If TARGET exists it is moved; the image that loses its last name stays, as <none>.
The host in TARGET decides where 'slipway push' sends it. SOURCE may be the first digits of an image ID.`,
  examples: [
    ['slipway tag app registry.example/team/app:1.2', 'A name under which it can be pushed'],
    ['slipway tag 3c4d5e6f7a8b app:known-good', 'Name an image by its ID'],
  ],
  options: {},
  args: { min: 2, max: 2 },
  async run({ args, api }) {
    const [source = '', target = ''] = args;
    const request: TagRequest = { target };
    await (await api()).json('POST', imagePath(source, '/tag'), request);
    return 0;
  },
});
