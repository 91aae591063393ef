import { defineCommand } from '../command.ts';
import { print } from '../io.ts';
import { transfer } from '../transfer.ts';

export const command = defineCommand({
  name: 'pull',
  summary: 'Download an image from a registry',
  usage: '[OPTIONS] NAME[:TAG|@DIGEST]',
  description: `Fetches what is missing of an image into the home and checks every byte against its digest; only then does the tag appear or
move. A name without a host means Docker Hub; without a tag, the tag latest. NAME@sha256:... pulls exactly that image and sets no
tag. Of an image for several platforms, the one for this machine is fetched.

Logins are those of 'slipway login HOST' and 'docker login HOST', which are one, with docker's credential helpers. Registries on this
machine (localhost, 127.0.0.1) may speak plain HTTP; others only if SLIPWAY_INSECURE_REGISTRIES names them (HOST[:PORT], separated by
commas). HTTPS_PROXY, HTTP_PROXY and NO_PROXY are honoured.

With an account (SLIPWAY_ENDPOINT) the account fetches the image, by itself: Ctrl-C stops it. Your login for that registry goes along for
this one pull, over HTTPS only, and is not kept. An image for several platforms is then fetched for the account's own.`,
  examples: [
    ['slipway pull debian:12', 'From Docker Hub'],
    ['slipway pull --platform linux/arm64 registry.example.com/team/app:1.2', 'Another platform, from a registry of your own'],
    ['slipway pull -q alpine', 'Print nothing but the full name'],
  ],
  options: {
    'all-tags': { type: 'boolean', short: 'a', help: 'Download all tagged images in the repository' },
    platform: { type: 'string', help: 'The platform to take of a multi-platform image, e.g. linux/arm64' },
    quiet: { type: 'boolean', short: 'q', help: 'Print only the name of what was pulled' },
    'disable-content-trust': { type: 'boolean', help: '', hidden: true },
  },
  args: { min: 1, max: 1 },
  async run({ args, options, ...call }) {
    const done = await transfer('pull', args[0] as string, options, call);
    if (options.quiet !== true) {
      await print(call.io, `Status: ${done.fresh ? 'Downloaded newer image for' : 'Image is up to date for'} ${done.name}`);
    }
    await print(call.io, done.canonical);
    return 0;
  },
});
