// What `image prune` and `system prune` share: the question, and the images that go.
import type { ImageSummary, RemovedImage } from '../shared/api/images.ts';
import { isCode } from '../shared/errors.ts';
import { type Api, query } from './api-client.ts';
import { imagePath } from './image-path.ts';
import { stdinBytes } from './input.ts';
import { type Io, print, write } from './io.ts';

export const pruneOptions = {
  all: { type: 'boolean', short: 'a', help: 'Remove all images, not only those without a name' },
  filter: {
    type: 'string',
    multiple: true,
    value: 'filter',
    help: 'Only images that fit: until=24h, label=NAME, label!=NAME=VALUE',
  },
  force: { type: 'boolean', short: 'f', help: 'Do not ask' },
} as const;

const allowed = /^(?:until|label!?)=/i;

/** The filter that is not for pruning, if there is one. */
export const strangeFilter = (filters: readonly string[]): string | undefined => filters.find((filter) => !allowed.test(filter));

/** Asks as docker does: anything but y or yes is a no, the end of the input too. */
export async function confirmed(io: Io, warning: string): Promise<boolean> {
  await write(io.stdout, `WARNING! ${warning}\n\nAre you sure you want to continue? [y/N] `);
  let line = '';
  for await (const chunk of stdinBytes(io)) {
    line += Buffer.from(chunk).toString();
    if (line.includes('\n')) break;
  }
  return /^\s*y(?:es)?\s*$/i.test(line.split('\n', 1)[0] ?? '');
}

/** Removes them, and prints what docker prints; answers the bytes that were freed. */
export async function pruneImages(
  io: Io,
  api: Api,
  { all = false, filters }: { readonly all?: boolean; readonly filters: readonly string[] },
): Promise<number> {
  const filter = all ? filters : ['dangling=true', ...filters];
  const images = await api.json<readonly ImageSummary[]>('GET', `/api/v1/images${query({ filter })}`);
  let bytes = 0;
  let lines = 0;
  for (const { id } of images) {
    let removed: RemovedImage;
    try {
      removed = await api.json<RemovedImage>('DELETE', imagePath(id) + query({ force: true }));
    } catch (error) {
      // Somebody else was quicker, and removed it or made it a part of another image.
      if (isCode(error, 'NOT_FOUND', 'CONFLICT')) continue;
      throw error;
    }
    bytes += removed.freed;
    for (const line of removed.lines) {
      if (lines++ === 0) await print(io, 'Deleted Images:');
      await print(io, 'untagged' in line ? `untagged: ${line.untagged}` : `deleted: ${line.deleted}`);
    }
  }
  if (lines > 0) await print(io, '');
  return bytes;
}
