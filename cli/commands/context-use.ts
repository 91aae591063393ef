import { SlipwayError } from '../../shared/errors.ts';
import { defineCommand } from '../command.ts';
import { print, warn } from '../io.ts';
import { embeddedName, readSettings, writeSettings } from '../settings.ts';

export const command = defineCommand({
  name: 'context use',
  summary: 'Choose the context that commands work with',
  usage: 'CONTEXT',
  description: `From now on, in every shell of this user. "${embeddedName}" is the home on this machine.`,
  options: {},
  args: { min: 1, max: 1 },
  everywhere: true,
  async run({ args, io }) {
    const name = args[0] as string;
    const { current: _, ...rest } = readSettings(io.env);
    if (name !== embeddedName && !Object.hasOwn(rest.contexts, name)) {
      throw new SlipwayError('NOT_FOUND', `there is no context "${name}"`, {
        hint: `slipway context create ${name} --endpoint URL`,
      });
    }
    writeSettings(io.env, { ...rest, ...(name === embeddedName ? {} : { current: name }) });
    await print(io, name);
    for (const variable of ['SLIPWAY_ENDPOINT', 'SLIPWAY_CONTEXT'] as const) {
      if (io.env[variable]) await warn(io, `Note: ${variable} is set, and comes first.`);
    }
    return 0;
  },
});
