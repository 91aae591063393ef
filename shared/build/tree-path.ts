// Paths in trees that are lists, not file systems: symlinks are resolved inside the root, as continuity's RootPath does for BuildKit.
import { SlipwayError } from '../errors.ts';
import type { Entry } from '../layer/entry.ts';

export interface Lookup {
  /** The entry itself, a symlink not followed. */
  get(path: string): Entry | undefined;
}

const maxLinks = 255;

/**
 * `path` with every symlink on the way replaced by what it points at, never leaving `root` (a real directory of the tree: '' is its
 * root); absolute links start at `root`. Parts that do not exist are kept as they are. `last`: whether a symlink at the very end is
 * followed too. More links than any sane tree has (a loop) is STEP_FAILED.
 */
export function resolvePath(tree: Lookup, path: string, { last = true, root = '' } = {}): string {
  const base = root === '' ? [] : root.split('/');
  const rest = path.split('/').reverse();
  let at: string[] = [...base];
  let links = 0;
  for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
    if (part === '' || part === '.') continue;
    if (part === '..') {
      if (at.length > base.length) at.pop();
      continue;
    }
    const next = [...at, part].join('/');
    const entry = rest.every((other) => other === '') && !last ? undefined : tree.get(next);
    if (entry?.type !== 'symlink') {
      at.push(part);
      continue;
    }
    if (++links > maxLinks) {
      throw new SlipwayError('STEP_FAILED', `/${path.replace(/^\/+/, '')}: too many levels of symbolic links`, {
        hint: 'Links lead to each other in a circle: see ls -l of the path, in the context or in the image.',
        details: { path },
      });
    }
    if (entry.link!.startsWith('/')) at = [...base];
    rest.push(...entry.link!.split('/').reverse());
  }
  return at.join('/');
}
