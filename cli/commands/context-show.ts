import { defineCommand } from '../command.ts';
import { print } from '../io.ts';
import { embeddedName, readSettings } from '../settings.ts';

export const command = defineCommand({
  name: 'context show',
  summary: 'Print the name of the context in use',
  usage: '',
  description: 'SLIPWAY_ENDPOINT, when set, comes before all contexts; then its URL is printed.',
  options: {},
  args: { min: 0, max: 0 },
  everywhere: true,
  async run({ io }) {
    const { SLIPWAY_ENDPOINT: endpoint, SLIPWAY_CONTEXT: named } = io.env;
    await print(io, endpoint || named || readSettings(io.env).current || embeddedName);
    return 0;
  },
});
