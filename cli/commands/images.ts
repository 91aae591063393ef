import type { ImageSummary } from '../../shared/api/images.ts';
import { query } from '../api-client.ts';
import { defineCommand } from '../command.ts';
import { ago, goTime, humanSize, shortId } from '../human.ts';
import { print } from '../io.ts';
import { type Cells, formatList } from '../list-format.ts';

const headings = {
  Repository: 'REPOSITORY',
  Tag: 'TAG',
  Digest: 'DIGEST',
  ID: 'IMAGE ID',
  CreatedSince: 'CREATED',
  CreatedAt: 'CREATED AT',
  Size: 'SIZE',
  Platform: 'PLATFORM',
} as const;

export const command = defineCommand({
  name: 'images',
  summary: 'List images',
  usage: '[OPTIONS] [REPOSITORY[:TAG]]',
  description: `One line for each tag, newest image first. Two tags of one image show the same IMAGE ID, and its content is kept once.
An image without any tag is shown as <none>: it was built without -t, or its last tag was moved to another image.

IMAGE ID is the digest of the image's manifest (or of its index, for an image of several platforms), as in docker 29: the same ID
that a registry shows. SIZE is what the image takes in this home: compressed layers and documents, each counted once.

REPOSITORY[:TAG] shows only what matches; * and ? stand for parts of a name between slashes.`,
  examples: [
    ['slipway images', 'All images'],
    ['slipway images app', 'All tags of app'],
    ["slipway images 'registry.example/team/*'", 'Every repository of a team'],
    ['slipway images -q --filter dangling=true', 'The IDs of images without a tag'],
    ['slipway images --filter label=stage=test --filter until=72h', 'Labelled so, and older than three days'],
    ["slipway images --format '{{.Repository}}:{{.Tag}} {{.Size}}'", 'Your own columns'],
    ['slipway images --json', 'Everything, for programs'],
  ],
  options: {
    all: { type: 'boolean', short: 'a', help: 'Also the members of multi-platform images, signatures and attestations' },
    digests: { type: 'boolean', help: 'Show digests' },
    filter: {
      type: 'string',
      short: 'f',
      multiple: true,
      value: 'filter',
      help: 'dangling=, label=, before=, since=, until=, reference=',
    },
    format: { type: 'string', help: "'table', 'table TEMPLATE', 'json', or a Go template" },
    json: { type: 'boolean', help: 'Print one JSON array' },
    'no-trunc': { type: 'boolean', help: "Don't cut IDs" },
    quiet: { type: 'boolean', short: 'q', help: 'Only IDs' },
  },
  args: { min: 0, max: 1 },
  async run({ args, options, io, api }) {
    const filter = [...options.filter, ...args.map((name) => `reference=${name}`)];
    const list = await (await api()).json<readonly ImageSummary[]>('GET', `/api/v1/images${query({ all: options.all, filter })}`);
    if (options.json) {
      await print(io, JSON.stringify(list, undefined, 2));
      return 0;
    }
    const rows = list.flatMap((image) => rowsOf(image, options['no-trunc'] === true, io.now()));
    if (options.quiet && options.format === undefined) {
      for (const { ID } of rows) await print(io, ID!);
      return 0;
    }
    const columns = ['Repository', 'Tag', ...(options.digests ? ['Digest'] : []), 'ID', 'CreatedSince', 'Size'];
    const lines = formatList(rows, headings, columns, options.format);
    if (lines.length > 0) await print(io, lines.join('\n'));
    return 0;
  },
});

/** A row for each tag; one without for an image that has none. */
function rowsOf(image: ImageSummary, whole: boolean, now: number): readonly Cells[] {
  const common = {
    ID: whole ? image.id : shortId(image.id),
    Digest: image.id,
    CreatedSince: ago(image.created, now),
    CreatedAt: goTime(image.created),
    Size: humanSize(image.size),
    Platform: image.platforms.join(', ') || '<none>',
  };
  if (image.names.length === 0) return [{ Repository: '<none>', Tag: '<none>', ...common }];
  return image.names.map((name) => {
    const colon = name.lastIndexOf(':');
    return { Repository: name.slice(0, colon), Tag: name.slice(colon + 1), ...common };
  });
}
