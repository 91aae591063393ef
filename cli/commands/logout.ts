import { defineCommand, UsageError } from '../command.ts';
import { chosenEndpoint, endpointUrl } from '../endpoint.ts';
import { print } from '../io.ts';
import { readSettings, writeSettings } from '../settings.ts';

export const command = defineCommand({
  name: 'logout',
  summary: 'Forget the login of an endpoint',
  usage: '[ENDPOINT]',
  description: 'Without ENDPOINT, the one of the context in use. A login made with docker is docker’s to forget.',
  options: {},
  args: { min: 0, max: 1 },
  everywhere: true,
  async run({ args, io }) {
    const url = args[0] === undefined ? chosenEndpoint(io.env)?.url : endpointUrl(args[0]);
    if (url === undefined) throw new UsageError('logout', 'an endpoint is missing: the home on this machine has no login');
    const settings = readSettings(io.env);
    const { [url]: known, ...logins } = settings.logins;
    if (known !== undefined) writeSettings(io.env, { ...settings, logins });
    await print(io, known === undefined ? `Not logged in to ${url}` : `Removed the login of ${url}`);
    return 0;
  },
});
