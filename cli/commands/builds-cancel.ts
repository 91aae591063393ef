import { buildPath, keptBuilds } from '../build-list.ts';
import { defineCommand } from '../command.ts';
import { eachWord } from '../each-word.ts';
import { print } from '../io.ts';

export const command = defineCommand({
  name: 'builds cancel',
  summary: 'Stop builds of a home elsewhere',
  usage: 'BUILD [BUILD...]',
  description: `They end within seconds, as cancelled; what they finished stays in the cache. One that has ended stays as it is. Your own builds, or
with the grant 'manage' of the project everybody's.`,
  options: {},
  args: { min: 1 },
  async run({ args, io, ...call }) {
    const { client } = await keptBuilds(call);
    return await eachWord(args, io, async (id) => {
      await client.json('POST', buildPath(id, '/cancel'), undefined, { repeatable: true });
      await print(io, id);
    });
  },
});
