// Which part of a directory a build can touch: COPY and ADD sources are resolved on disk before the walk, wildcards expanded and
// symlinks followed inside the root, so that a small build in a large folder reads only what it copies.
import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { errnoOf } from '../errors.ts';
import { decodeName, fsPath } from '../tar/name.ts';
import { cleanPath, compileGlob, hasWildcard } from './glob.ts';

/** Sources of COPY and ADD as written; 'all' for the whole directory. */
export type Needed = 'all' | readonly string[];

/** A directory in which only some names are needed; 'all' where everything is. */
export type NeededNode = 'all' | { readonly children: Map<string, NeededNode> };

interface Part {
  readonly text: string;
  readonly pattern: boolean;
}

interface Visit {
  /** Resolved: no part of it is a symlink. */
  readonly at: readonly string[];
  readonly rest: readonly Part[];
  readonly links: number;
}

/** Linux gives up after 40; one more than any path that works. */
const maxLinks = 41;

/** The parts of a source, where `/x` means the root and `..` at the front is dropped (F78). Patterns begin at the first wildcard. */
export function sourceParts(source: string): readonly Part[] {
  const parts = cleanPath(`/${source}`).slice(1).split('/');
  const first = parts.findIndex(hasWildcard);
  return parts.filter((text) => text !== '').map((text, i) => ({ text, pattern: first !== -1 && i >= first }));
}

/** Resolves the sources below `root`. What cannot be looked at is left to the walk, which says why. */
export function neededPaths(root: string, needed: Needed): NeededNode {
  if (needed === 'all') return 'all';
  const top: { children: Map<string, NeededNode> } = { children: new Map() };
  let everything = false;

  const add = (at: readonly string[]): void => {
    if (at.length === 0) everything = true;
    let node = top;
    for (const [i, name] of at.entries()) {
      const child = node.children.get(name);
      if (child === 'all') return;
      if (i === at.length - 1) {
        node.children.set(name, 'all');
        return;
      }
      const next = child ?? { children: new Map() };
      node.children.set(name, next);
      node = next;
    }
  };

  const kindOf = (at: readonly string[]): 'dir' | 'link' | 'other' | 'none' => {
    try {
      const stat = lstatSync(fsPath([root, ...at].join('/')), { throwIfNoEntry: false });
      if (stat === undefined) return 'none';
      return stat.isDirectory() ? 'dir' : stat.isSymbolicLink() ? 'link' : 'other';
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return 'none';
    }
  };

  const namesIn = (at: readonly string[]): readonly string[] | undefined => {
    try {
      return readdirSync(fsPath([root, ...at].join('/')), { encoding: 'buffer' }).map(decodeName);
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return undefined;
    }
  };

  const linkParts = (at: readonly string[]): { base: readonly string[]; parts: readonly Part[] } => {
    const link = decodeName(readlinkSync(fsPath([root, ...at].join('/')), { encoding: 'buffer' }));
    const parts = link.split('/').map((text) => ({ text, pattern: false }));
    return { base: link.startsWith('/') ? [] : at.slice(0, -1), parts };
  };

  /** One step further; answers where to go on from, nothing where the end is reached. */
  const visit = ({ at, rest, links }: Visit): readonly Visit[] => {
    const [part, ...more] = rest;
    if (part === undefined) {
      add(at);
      return [];
    }
    if (part.text === '' || part.text === '.') return [{ at, rest: more, links }];
    if (part.text === '..') return [{ at: at.slice(0, -1), rest: more, links }];
    if (part.pattern) {
      const matches = compileGlob(part.text, 'match');
      const names = matches === undefined ? undefined : namesIn(at);
      if (matches === undefined || names === undefined) {
        // Malformed patterns are reported at their instruction, by copy-match.ts.
        add(at);
        return [];
      }
      const found = names.filter(matches);
      // Wildcards do not go through symlinks, but a match that is one is followed.
      if (more.length === 0) return found.map((text) => ({ at, rest: [{ text, pattern: false }], links }));
      return found.map((name) => ({ at: [...at, name], rest: more, links })).filter((next) => kindOf(next.at) === 'dir');
    }
    const next = [...at, part.text];
    const kind = kindOf(next);
    if (kind === 'dir') return [{ at: next, rest: more, links }];
    add(next);
    if (kind !== 'link' || links >= maxLinks) return [];
    const { base, parts } = linkParts(next);
    return [{ at: base, rest: [...parts, ...more], links: links + 1 }];
  };

  const stack: Visit[] = needed.map((source) => ({ at: [], rest: sourceParts(source), links: 0 }));
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) stack.push(...visit(next));
  return everything ? 'all' : top;
}
