import type { BuildFacts } from '../../shared/api/builds.ts';
import { dollars } from '../../shared/cost/dollars.ts';
import { keptBuilds, listBuilds } from '../build-list.ts';
import { defineCommand, UsageError } from '../command.ts';
import { ago, humanDuration } from '../human.ts';
import { print } from '../io.ts';
import { type Cells, formatList } from '../list-format.ts';

const headings = {
  ID: 'BUILD ID',
  Name: 'NAME',
  Status: 'STATUS',
  CreatedAt: 'CREATED AT',
  Created: 'CREATED',
  Duration: 'DURATION',
  Cost: 'COST',
  By: 'BY',
  Project: 'PROJECT',
  Image: 'IMAGE',
};

export const command = defineCommand({
  name: 'builds ls',
  summary: 'List the builds of a home elsewhere',
  usage: '[OPTIONS]',
  description: `Newest first: those of the project in use that you may see. Builds are kept after they have ended, with their logs.
'docker buildx history ls' is the same.`,
  examples: [
    ['slipway builds ls -n 5', 'The last five'],
    ["slipway builds ls --format '{{.ID}} {{.Status}}'", 'Your own columns'],
    ['slipway builds ls --all --json', 'Of all projects, everything, for programs'],
  ],
  options: {
    all: { type: 'boolean', short: 'a', help: 'Of all projects' },
    limit: { type: 'string', short: 'n', value: 'number', help: 'How many (default: 20)' },
    format: { type: 'string', help: "'table', 'table TEMPLATE', 'json', or a Go template" },
    json: { type: 'boolean', help: 'Print one JSON array' },
    quiet: { type: 'boolean', short: 'q', help: 'Only IDs' },
  },
  args: { min: 0, max: 0 },
  async run({ options, io, ...call }) {
    const limit = Number(options.limit ?? 20);
    if (!Number.isInteger(limit) || limit < 1)
      throw new UsageError('builds ls', `invalid limit "${options.limit}": a number from 1 is expected`);
    const { client, project } = await keptBuilds(call);
    const { format, json, quiet } = options;
    // Asking what builds cost takes the home some time.
    const cost = json || (format === undefined ? !quiet : /json|\.Cost/.test(format));
    const builds = await listBuilds(client, options.all ? undefined : project, limit, cost);
    if (json) {
      await print(io, JSON.stringify(builds, undefined, 2));
      return 0;
    }
    if (quiet && format === undefined) {
      for (const { id } of builds) await print(io, id);
      return 0;
    }
    const charged = builds.some((build) => build.cost !== undefined);
    const more = { cost: charged ? ['Cost'] : [], project: options.all ? ['Project'] : [] };
    const columns = ['ID', 'Name', 'Status', 'Created', 'Duration', ...more.cost, 'By', ...more.project];
    const rows = builds.map((build) => rowOf(build, io.now()));
    const lines = formatList(rows, headings, columns, format);
    if (lines.length > 0) await print(io, lines.join('\n'));
    return 0;
  },
});

function rowOf(build: BuildFacts, now: number): Cells {
  const { id, tags, dockerfile, state, created, started, ended, by, project, image, cost } = build;
  const createdAt = new Date(created).toISOString();
  return {
    ID: id,
    // As docker names a build that has no name.
    Name: tags[0] ?? dockerfile,
    Status: state,
    CreatedAt: createdAt,
    Created: ago(createdAt, now),
    Duration: started === undefined ? '' : humanDuration((ended ?? now) - started),
    Cost: cost === undefined ? '' : dollars(cost.nanoDollars),
    By: by ?? '',
    Project: project ?? 'default',
    Image: image ?? '',
  };
}
