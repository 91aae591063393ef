// Trees for tests of COPY and ADD, written as text.
import type { DestinationTree } from '../../shared/build/copy-destination.ts';
import { Context } from '../../shared/context/list.ts';
import type { Body, Entry, EntryWithBody } from '../../shared/layer/entry.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { comparePaths } from '../../shared/tar/name.ts';

type Written = string | (Partial<Entry> & { readonly text?: string });

/**
 * `name/` is a directory, a text beginning with `-> ` a symlink, `=> ` a hard link, anything else a file; parents are made as needed.
 * An object gives attributes too.
 */
export function entriesOf(files: Readonly<Record<string, Written>>, defaults: Partial<Entry> = {}): Entry[] {
  const entries = new Map<string, Entry>();
  const directory = (path: string): void => {
    if (path === '' || entries.has(path)) return;
    directory(path.slice(0, Math.max(0, path.lastIndexOf('/'))));
    entries.set(path, { path, type: 'dir', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 100, ...defaults });
  };
  for (const [name, written] of Object.entries(files)) {
    const { text = '', ...attributes } = typeof written === 'string' ? { text: written } : written;
    const path = name.replace(/\/$/, '');
    const head = { path, uid: 0, gid: 0, size: 0, mtime: 100, ...defaults };
    directory(path.slice(0, Math.max(0, path.lastIndexOf('/'))));
    if (name.endsWith('/')) entries.set(path, { ...head, type: 'dir', mode: 0o755, ...attributes });
    else if (text.startsWith('-> '))
      entries.set(path, { ...head, type: 'symlink', mode: 0o777, link: text.slice(3), ...attributes });
    else if (text.startsWith('=> '))
      entries.set(path, { ...head, type: 'hardlink', mode: 0o644, link: text.slice(3), ...attributes });
    else
      entries.set(path, {
        ...head,
        type: 'file',
        mode: 0o644,
        size: Buffer.byteLength(text),
        digest: sha256(text),
        ...attributes,
      });
  }
  return [...entries.values()].sort((a, b) => comparePaths(a.path, b.path));
}

export const treeOf = (files: Readonly<Record<string, Written>>, defaults: Partial<Entry> = {}): Context =>
  new Context(entriesOf(files, defaults));

/** A parent image; etc/passwd and etc/group are readable. */
export function imageOf(files: Readonly<Record<string, Written>>): DestinationTree {
  const tree = treeOf(files);
  return {
    get: (path) => tree.get(path),
    content: (path) => {
      const written = files[path];
      return typeof written === 'string' ? Buffer.from(written) : undefined;
    },
  };
}

/** Bodies that say which source entry they are of. */
export const bodyOf = (entry: Entry): Body => ({ kind: 'bytes', bytes: Buffer.from(`body of ${entry.path}`) });

/** A layer in one line an entry: path, type letter, mode, owner when not root, what it holds. */
export function shown(entries: readonly EntryWithBody[]): string[] {
  return entries.map(({ entry, body }) => {
    const letter = entry.type === 'symlink' ? 'l' : entry.type[0];
    const owner = entry.uid === 0 && entry.gid === 0 ? '' : ` ${entry.uid}:${entry.gid}`;
    const content = body?.kind === 'bytes' ? ` "${Buffer.from(body.bytes).toString()}"` : '';
    const link = entry.link === undefined ? '' : ` -> ${entry.link}`;
    return `${entry.path} ${letter}${entry.mode.toString(8)}${owner}${link}${content}`;
  });
}
