import { checkProject } from '../../shared/context/project.ts';
import { SlipwayError } from '../../shared/errors.ts';
import { defineCommand, UsageError } from '../command.ts';
import { endpointUrl } from '../endpoint.ts';
import { print, warn } from '../io.ts';
import { checkContextName, readSettings, writeSettings } from '../settings.ts';

export const command = defineCommand({
  name: 'context create',
  summary: 'Name an endpoint',
  usage: '[OPTIONS] CONTEXT',
  description: `Remembers an endpoint under a name, for 'slipway context use NAME' or 'slipway --context NAME COMMAND'. Log in to it with
'slipway login'. Nothing is sent to it yet.`,
  examples: [
    ['slipway context create team --endpoint https://images.example.com', 'Name an endpoint'],
    ['slipway context use team', 'Work with it from now on'],
  ],
  options: {
    endpoint: { type: 'string', value: 'URL', help: 'Where it is' },
    description: { type: 'string', help: 'For people' },
    project: {
      type: 'string',
      value: 'NAME',
      help: 'What keeps the files of builds apart from those of others (default: default)',
    },
    use: { type: 'boolean', help: 'Use it from now on' },
  },
  args: { min: 1, max: 1 },
  everywhere: true,
  async run({ args, options, io }) {
    const name = checkContextName(args[0] as string);
    if (options.endpoint === undefined) throw new UsageError('context create', 'an endpoint is missing: --endpoint URL');
    const settings = readSettings(io.env);
    if (Object.hasOwn(settings.contexts, name)) {
      throw new SlipwayError('CONFLICT', `the context "${name}" exists already`, { hint: `slipway context rm ${name}` });
    }
    const context = {
      endpoint: endpointUrl(options.endpoint),
      ...(options.description === undefined ? {} : { description: options.description }),
      ...(options.project === undefined ? {} : { project: checkProject(options.project) }),
    };
    writeSettings(io.env, {
      ...settings,
      contexts: { ...settings.contexts, [name]: context },
      ...(options.use ? { current: name } : {}),
    });
    await print(io, name);
    if (!options.use) await warn(io, `Use it with \`slipway context use ${name}\`.`);
    return 0;
  },
});
