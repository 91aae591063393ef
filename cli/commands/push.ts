import { defineCommand } from '../command.ts';
import { print } from '../io.ts';
import { transfer } from '../transfer.ts';

export const command = defineCommand({
  name: 'push',
  summary: 'Upload an image to a registry',
  usage: '[OPTIONS] NAME[:TAG]',
  description: `Sends what the registry lacks of an image and then moves the tag there. The name alone says which registry: give an image the name
it is to have with \`slipway tag IMAGE HOST/PATH:TAG\` first. Layers that the registry has are not sent again, nor are those that it
has in another repository known here.

Logins, insecure registries and proxies are as with pull (see slipway pull --help). With an account (SLIPWAY_ENDPOINT) it is the account
that sends, one of its own images.`,
  examples: [
    [
      'slipway tag app registry.example.com/team/app:1.2 && slipway push registry.example.com/team/app:1.2',
      'Name it, then send it',
    ],
    ['slipway push --all-tags registry.example.com/team/app', 'Every tag of the repository'],
  ],
  options: {
    'all-tags': { type: 'boolean', short: 'a', help: 'Push all tags of the repository' },
    platform: { type: 'string', help: 'Push only this platform of a multi-platform image, as an image of its own' },
    quiet: { type: 'boolean', short: 'q', help: 'Print only the name of what was pushed' },
    'disable-content-trust': { type: 'boolean', help: '', hidden: true },
  },
  args: { min: 1, max: 1 },
  async run({ args, options, ...call }) {
    const done = await transfer('push', args[0] as string, options, call);
    if (options.quiet === true) await print(call.io, done.canonical);
    return 0;
  },
});
