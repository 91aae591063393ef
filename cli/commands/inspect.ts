import type { ImageDetails } from '../../shared/api/images.ts';
import { query } from '../api-client.ts';
import { defineCommand } from '../command.ts';
import { eachWord } from '../each-word.ts';
import { imagePath } from '../image-path.ts';
import { print } from '../io.ts';

export const command = defineCommand({
  name: 'inspect',
  summary: 'Show everything known about images, as JSON',
  usage: '[OPTIONS] IMAGE [IMAGE...]',
  description: `Prints a JSON array with one object for each image: ID, names, config, platform, size and the digests of its layers.
With --format a Go template picks what you need. An image that is not there is an error, and the others are shown all the same.`,
  examples: [
    ['slipway inspect app', 'Everything about app:latest'],
    ["slipway inspect -f '{{.Id}}' app", 'Its ID, in full'],
    ["slipway inspect -f '{{json .Config.Env}}' app", 'A part of it, as JSON'],
    ["slipway inspect -f '{{range .RootFS.Layers}}{{println .}}{{end}}' app", 'Its layers, one a line'],
    ['slipway inspect -f \'{{index .Config.Labels "version"}}\' app', 'One label'],
  ],
  options: {
    format: { type: 'string', short: 'f', help: "'json', or a Go template" },
    platform: { type: 'string', value: 'os/arch', help: 'Which image of a multi-platform one' },
  },
  args: { min: 1 },
  async run({ args, options, io, api }) {
    const client = await api();
    const { format, platform } = options;
    const { parseTemplate } = await import('../template.ts');
    const template = format === undefined || format === 'json' ? undefined : parseTemplate(format);
    const found: ImageDetails[] = [];
    const code = await eachWord(args, io, async (word) => {
      const details = await client.json<ImageDetails>('GET', imagePath(word, '/inspect') + query({ platform }));
      if (template) await print(io, template.render(details));
      else if (format === 'json') await print(io, JSON.stringify(details));
      else found.push(details);
    });
    if (format === undefined) await print(io, JSON.stringify(found, undefined, 4));
    return code;
  },
});
