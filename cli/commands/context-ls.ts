import { defineCommand } from '../command.ts';
import { chosenEndpoint } from '../endpoint.ts';
import { print, warn } from '../io.ts';
import { formatList } from '../list-format.ts';
import { embeddedName, readSettings } from '../settings.ts';

const headings = { Name: 'NAME', Description: 'DESCRIPTION', Endpoint: 'ENDPOINT' };

export const command = defineCommand({
  name: 'context ls',
  summary: 'List contexts: the homes that commands can work with',
  usage: '[OPTIONS]',
  description: `Contexts are names of endpoints. "${embeddedName}" is the home on this machine, and always there. The one in use has a star.`,
  options: {
    format: { type: 'string', help: "'table', 'table TEMPLATE', 'json', or a Go template" },
    json: { type: 'boolean', help: 'Print one JSON array' },
    quiet: { type: 'boolean', short: 'q', help: 'Only names' },
  },
  args: { min: 0, max: 0 },
  everywhere: true,
  async run({ options, io }) {
    const settings = readSettings(io.env);
    const current = io.env.SLIPWAY_CONTEXT || settings.current || embeddedName;
    const named = Object.entries(settings.contexts).toSorted(([a], [b]) => (a < b ? -1 : 1));
    const all = [
      { name: embeddedName, description: 'The home on this machine', endpoint: '' },
      ...named.map(([name, { endpoint, description = '' }]) => ({ name, description, endpoint })),
    ].map((context) => ({ ...context, current: !io.env.SLIPWAY_ENDPOINT && context.name === current }));
    if (options.json) {
      await print(io, JSON.stringify(all, undefined, 2));
      return 0;
    }
    if (options.quiet) {
      for (const { name } of all) await print(io, name);
      return 0;
    }
    const rows = all.map((context) => ({
      Name: options.format === undefined && context.current ? `${context.name} *` : context.name,
      Description: context.description,
      Endpoint: context.endpoint,
      Current: String(context.current),
    }));
    const lines = formatList(rows, headings, ['Name', 'Description', 'Endpoint'], options.format);
    if (lines.length > 0) await print(io, lines.join('\n'));
    if (io.env.SLIPWAY_ENDPOINT)
      await warn(io, `Note: SLIPWAY_ENDPOINT chooses ${chosenEndpoint(io.env)?.url}, and none of these.`);
    return 0;
  },
});
