import { SlipwayError } from '../../shared/errors.ts';
import { defineCommand } from '../command.ts';
import { print } from '../io.ts';
import { checkContextName, readSettings, writeSettings } from '../settings.ts';

export const command = defineCommand({
  name: 'context rm',
  summary: 'Forget contexts',
  usage: '[OPTIONS] CONTEXT [CONTEXT...]',
  description: 'Nothing at the endpoint changes. The login stays, until `slipway logout ENDPOINT`.',
  options: { force: { type: 'boolean', short: 'f', help: 'Also the one in use; then the home on this machine is used' } },
  args: { min: 1 },
  everywhere: true,
  async run({ args, options, io }) {
    const { contexts: before, current, ...rest } = readSettings(io.env);
    const contexts = { ...before };
    for (const name of args.map(checkContextName)) {
      if (!Object.hasOwn(contexts, name)) throw new SlipwayError('NOT_FOUND', `there is no context "${name}"`);
      if (name === current && !options.force) {
        throw new SlipwayError('CONFLICT', `the context "${name}" is in use`, {
          hint: 'Use another one first (`slipway context use default`), or say --force.',
        });
      }
      delete contexts[name];
    }
    const kept = current !== undefined && Object.hasOwn(contexts, current) ? { current } : {};
    writeSettings(io.env, { ...rest, contexts, ...kept });
    for (const name of args) await print(io, name);
    return 0;
  },
});
