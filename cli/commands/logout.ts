import { eraseDockerCredentials } from '../../shared/auth/docker-config.ts';
import { defineCommand, UsageError } from '../command.ts';
import { chosenEndpoint, endpointUrl } from '../endpoint.ts';
import { print } from '../io.ts';

export const command = defineCommand({
  name: 'logout',
  summary: 'Forget the login of a registry or an endpoint',
  usage: '[HOST]',
  description:
    'Without HOST, the endpoint of the context in use. It is one login with docker’s: docker is logged out of the host as well.',
  options: {},
  args: { min: 0, max: 1 },
  everywhere: true,
  async run({ args, io }) {
    const url = args[0] === undefined ? chosenEndpoint(io.env)?.url : endpointUrl(args[0]);
    if (url === undefined)
      throw new UsageError('logout', 'the host is missing: the home on this machine has no login; Docker Hub is docker.io');
    const known = await eraseDockerCredentials(new URL(url).host, { env: io.env });
    await print(io, known ? `Removed the login of ${url}` : `Not logged in to ${url}`);
    return 0;
  },
});
