import type { HistoryRow } from '../../shared/api/images.ts';
import { query } from '../api-client.ts';
import { defineCommand } from '../command.ts';
import { ago, humanSize, shortId } from '../human.ts';
import { imagePath } from '../image-path.ts';
import { print } from '../io.ts';
import { type Cells, formatList } from '../list-format.ts';

const headings = {
  ID: 'IMAGE',
  CreatedSince: 'CREATED',
  CreatedAt: 'CREATED AT',
  CreatedBy: 'CREATED BY',
  Size: 'SIZE',
  Comment: 'COMMENT',
  Tags: 'TAGS',
} as const;

/** Characters of CREATED BY before it is cut. */
const createdByWidth = 45;

export const command = defineCommand({
  name: 'history',
  summary: 'Show how an image was made, layer by layer',
  usage: '[OPTIONS] IMAGE',
  description: `One line for each instruction, newest first. Instructions that only change the config have a size of 0B; the others
show what their layer takes in this home, compressed. IMAGE is <missing> for the steps in between: they are no images of their own.
Build arguments that RUN instructions used can be seen here: never pass secrets in them.`,
  examples: [
    ['slipway history app', 'Every step of app:latest'],
    ['slipway history --no-trunc app', 'With whole commands'],
    ["slipway history --format '{{.Size}}\\t{{.CreatedBy}}' app", 'Your own columns'],
  ],
  options: {
    format: { type: 'string', help: "'table', 'table TEMPLATE', 'json', or a Go template" },
    human: { type: 'boolean', short: 'H', help: 'Print sizes and dates for people (the default; --human=false for exact ones)' },
    json: { type: 'boolean', help: 'Print one JSON array' },
    'no-trunc': { type: 'boolean', help: "Don't cut anything" },
    platform: { type: 'string', value: 'os/arch', help: 'Which image of a multi-platform one' },
    quiet: { type: 'boolean', short: 'q', help: 'Only image IDs' },
  },
  args: { min: 1, max: 1 },
  async run({ args, options, io, api }) {
    const path = imagePath(args[0] ?? '', '/history') + query({ platform: options.platform });
    const rows = await (await api()).json<readonly HistoryRow[]>('GET', path);
    if (options.json) {
      await print(io, JSON.stringify(rows, undefined, 2));
      return 0;
    }
    const whole = options['no-trunc'] === true;
    const human = options.human !== false;
    const cells = rows.map((row): Cells => {
      const createdBy = row.CreatedBy.replaceAll('\t', ' ').replaceAll('\n', ' ');
      return {
        ID: whole ? row.Id : shortId(row.Id),
        CreatedSince: human ? ago(row.Created, io.now()) : (row.Created ?? 'N/A'),
        CreatedAt: row.Created ?? 'N/A',
        CreatedBy: whole ? createdBy : cut(createdBy),
        Size: human ? humanSize(row.Size) : String(row.Size),
        Comment: row.Comment,
        Tags: row.Tags.join(', '),
      };
    });
    if (options.quiet && options.format === undefined) {
      for (const { ID } of cells) await print(io, ID!);
      return 0;
    }
    const lines = formatList(cells, headings, ['ID', 'CreatedSince', 'CreatedBy', 'Size', 'Comment'], options.format);
    if (lines.length > 0) await print(io, lines.join('\n'));
    return 0;
  },
});

function cut(text: string): string {
  const characters = Array.from(text);
  return characters.length <= createdByWidth ? text : `${characters.slice(0, createdByWidth - 1).join('')}…`;
}
