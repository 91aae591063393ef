import { SlipwayError } from '../../shared/errors.ts';
import { defineCommand } from '../command.ts';
import { print } from '../io.ts';
import { embeddedName, readSettings, settingsFolder } from '../settings.ts';

export const command = defineCommand({
  name: 'context inspect',
  summary: 'Show what is known of contexts, as JSON',
  usage: '[CONTEXT...]',
  description: 'Without a name, the one in use. In the shape of docker context inspect; logins are not part of it.',
  options: {},
  args: { min: 0 },
  everywhere: true,
  async run({ args, io }) {
    const settings = readSettings(io.env);
    const names = args.length > 0 ? args : [io.env.SLIPWAY_CONTEXT || settings.current || embeddedName];
    const found = names.map((name) => {
      const context = Object.hasOwn(settings.contexts, name) ? settings.contexts[name] : undefined;
      if (context === undefined && name !== embeddedName) throw new SlipwayError('NOT_FOUND', `there is no context "${name}"`);
      return {
        Name: name,
        Metadata: {
          Description: context?.description ?? (context === undefined ? 'The home on this machine' : ''),
          ...(context === undefined ? {} : { Project: context.project ?? 'default' }),
        },
        Endpoints: context === undefined ? {} : { slipway: { Host: context.endpoint } },
        Storage: { MetadataPath: settingsFolder(io.env) },
      };
    });
    await print(io, JSON.stringify(found, undefined, 4));
    return 0;
  },
});
