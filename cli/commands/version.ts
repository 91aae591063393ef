import { version } from '../../shared/version.ts';
import { defineCommand } from '../command.ts';
import { print } from '../io.ts';

export const command = defineCommand({
  name: 'version',
  summary: 'Show the Slipway version information',
  usage: '[OPTIONS]',
  options: { json: { type: 'boolean', help: 'Print JSON' } },
  args: { min: 0, max: 0 },
  everywhere: true,
  async run({ options, io }) {
    const facts = { version, node: process.versions.node, os: process.platform, architecture: process.arch };
    if (options.json) await print(io, JSON.stringify(facts));
    else await print(io, `Slipway ${version}\n Node:     ${facts.node}\n OS/Arch:  ${facts.os}/${facts.architecture}`);
    return 0;
  },
});
