import type { BuildFacts } from '../../shared/api/builds.ts';
import { buildId, buildPath, keptBuilds } from '../build-list.ts';
import { defineCommand } from '../command.ts';
import { eachWord } from '../each-word.ts';
import { print } from '../io.ts';

export const command = defineCommand({
  name: 'builds inspect',
  summary: 'Show everything known about builds of a home elsewhere, as JSON',
  usage: '[OPTIONS] [BUILD...]',
  description: `Who started it and when, what was asked for, how it ended, what it used and is estimated to have cost. Without BUILD, the newest
one. Times are milliseconds since 1970. A single build is an object, several are an array.`,
  examples: [["slipway builds inspect -f '{{.state}}' ID", 'A part of it']],
  options: { format: { type: 'string', short: 'f', help: "'json', or a Go template" } },
  args: { min: 0 },
  async run({ args, options, io, ...call }) {
    const { client, project } = await keptBuilds(call);
    const { format } = options;
    const { parseTemplate } = await import('../template.ts');
    const template = format === undefined || format === 'json' ? undefined : parseTemplate(format);
    const words = args.length > 0 ? args : [await buildId(client, project, undefined)];
    const found: BuildFacts[] = [];
    const code = await eachWord(words, io, async (id) => {
      const facts = await client.json<BuildFacts>('GET', buildPath(id));
      if (template) await print(io, template.render(facts));
      else if (format === 'json') await print(io, JSON.stringify(facts));
      else found.push(facts);
    });
    if (format === undefined && found.length > 0)
      await print(io, JSON.stringify(words.length === 1 ? found[0] : found, undefined, 4));
    return code;
  },
});
