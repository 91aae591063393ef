import { homeRoot } from '../../local/home.ts';
import { probe } from '../../shared/sandbox/probe.ts';
import { defineCommand } from '../command.ts';
import { print } from '../io.ts';

const marks = { ok: 'ok', missing: 'MISSING', optional: '-' } as const;

export const command = defineCommand({
  name: 'doctor',
  summary: 'Say what this machine can do and what to install',
  usage: '[OPTIONS]',
  description: `Commands of builds (RUN) and of 'slipway run' are isolated with what the machine has: root or an ordinary user with
subordinate ids, overlay filesystems, util-linux. This tries each and names what is missing, with the package that has it.
Everything else (COPY, the registry, pull and push) needs none of it.

Exits with 1 when builds with RUN cannot work here.`,
  examples: [
    ['slipway doctor', 'what works here, on one screen'],
    ['slipway doctor --json', 'the same for programs'],
  ],
  options: { json: { type: 'boolean', help: 'Print JSON' } },
  thisMachine: 'note',
  args: { min: 0, max: 0 },
  async run({ io, options }) {
    const found = await probe({ env: io.env, home: homeRoot(io.env) });
    if (options.json) await print(io, JSON.stringify(found, undefined, 2));
    else {
      const width = Math.max(...found.checks.map((check) => check.name.length)) + 2;
      for (const { name, state, detail, fix } of found.checks) {
        await print(io, `${marks[state].padEnd(9)}${name.padEnd(width)}${detail}`);
        if (fix !== undefined) await print(io, `${' '.repeat(9 + width)}${fix}`);
      }
      await print(
        io,
        found.canRun ? '\nBuilds with RUN and slipway run work here.' : '\nBuilds with RUN and slipway run do NOT work here yet.',
      );
    }
    return found.canRun ? 0 : 1;
  },
});
