// The file system that a chain of layers makes, seen through their tables of contents: no layer is read, nothing is unpacked.
import { SlipwayError } from '../errors.ts';
import { comparePaths } from '../tar/name.ts';
import type { Entry } from './entry.ts';
import type { TocEntry } from './toc.ts';
import type { TableToc } from './toc-table.ts';

/** Where an entry of the merged tree comes from. */
export interface Located {
  /** As seen in the tree: a hard link is one to a file that is seen too, otherwise it is what it is another name of. */
  readonly entry: Entry;
  /** Index of the layer that holds it. */
  readonly layer: number;
  /** The path in that layer that holds the content: for a hard link its target's. */
  readonly path: string;
}

/** Symbolic links followed in one path before it counts as a loop, as in the kernel. */
const maxLinks = 40;

type Present = Extract<TocEntry, Entry>;

export class MergedTree {
  readonly #tocs: readonly TableToc[];
  /** By directory: the lowest layer whose entries in it can be seen. */
  readonly #floors = new Map<string, number>();

  /** `tocs` are the layers' tables, bottom first. */
  constructor(tocs: readonly TableToc[]) {
    this.#tocs = tocs;
  }

  /** The entry itself, a symbolic link not followed. A directory that is only implied by what is in it is 0755 of root. */
  get(path: string): Entry | undefined {
    return this.locate(path)?.entry;
  }

  locate(path: string): Located | undefined {
    const floor = path === '' ? 0 : this.#floor(parentOf(path));
    let implied: number | undefined;
    for (let layer = this.#tocs.length - 1; layer >= floor; layer--) {
      const toc = this.#tocs[layer]!;
      const entry = toc.get(path);
      if (entry === undefined || entry.type === 'whiteout') {
        if (toc.hasUnder(path)) implied ??= layer;
        if (entry !== undefined) break;
        continue;
      }
      // Above it the path is a directory; whatever else it was below is hidden.
      if (implied !== undefined && entry.type !== 'dir') break;
      return this.#located(layer, entry);
    }
    return implied === undefined ? undefined : { entry: impliedDir(path), layer: implied, path };
  }

  /** What stands directly in a directory, in path order; nothing for what is no directory. */
  list(path: string): readonly Entry[] {
    return this.#children(path).map(({ entry }) => entry);
  }

  /** All entries strictly below `path`, in path order. */
  under(path: string): readonly Entry[] {
    const found: Entry[] = [];
    const visit = (folder: string) => {
      for (const { entry } of this.#children(folder)) {
        found.push(entry);
        if (entry.type === 'dir') visit(entry.path);
      }
    };
    visit(path);
    return found.sort((a, b) => comparePaths(a.path, b.path));
  }

  /**
   * `path` with every symbolic link on the way replaced by what it points at, inside the root; parts that do not exist are kept as they
   * are. STEP_FAILED for loops.
   */
  resolve(path: string, options: { readonly followLast?: boolean } = {}): string {
    const { followLast = true } = options;
    const rest = path.split('/').reverse();
    let at: string[] = [];
    let links = 0;
    for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        at.pop();
        continue;
      }
      const last = rest.every((other) => other === '');
      const entry = last && !followLast ? undefined : this.get([...at, part].join('/'));
      if (entry?.type !== 'symlink') {
        at.push(part);
        continue;
      }
      if (++links > maxLinks) {
        throw new SlipwayError('STEP_FAILED', `/${path}: too many levels of symbolic links`, { details: { path } });
      }
      const link = entry.link ?? '';
      if (link.startsWith('/')) at = [];
      rest.push(...link.split('/').reverse());
    }
    return at.join('/');
  }

  /** The content of etc/passwd or etc/group, links on the way followed; undefined when there is none or it is larger than 256 KiB. */
  content(path: string): Uint8Array | undefined {
    const found = this.locate(this.resolve(path));
    if (found === undefined || found.entry.type !== 'file') return undefined;
    return this.#tocs[found.layer]!.content(found.path);
  }

  #located(layer: number, entry: Present): Located {
    const { opaque, ...plain } = entry as Present & { readonly opaque?: true };
    if (plain.type !== 'hardlink') return { entry: plain, layer, path: plain.path };
    const target = this.#target(layer, plain);
    const { opaque: _, ...file } = target as Present & { readonly opaque?: true };
    // One more name of a symbolic link leads where the link does; one of a device is as good as another device.
    if (target.type === 'file' && this.#layerOf(target.path) === layer) return { entry: plain, layer, path: target.path };
    // The name it shared may also have been removed or replaced above: this one still has the old content.
    return { entry: { ...file, path: plain.path }, layer, path: target.path };
  }

  /** The entry that a hard link is another name of, in its own layer. */
  #target(layer: number, entry: Entry): Present {
    let target: TocEntry | undefined = entry;
    for (let hops = 0; hops < maxLinks && target !== undefined && target.type === 'hardlink'; hops++) {
      target = this.#tocs[layer]!.get(target.link ?? '');
    }
    if (target === undefined || target.type === 'whiteout' || target.type === 'hardlink') {
      throw new SlipwayError('INVALID_ARCHIVE', `/${entry.path} is a hard link to /${entry.link}, which its layer does not hold`);
    }
    return target;
  }

  /** The layer whose entry is seen at `path`. */
  #layerOf(path: string): number | undefined {
    const floor = this.#floor(parentOf(path));
    for (let layer = this.#tocs.length - 1; layer >= floor; layer--) {
      const toc = this.#tocs[layer]!;
      const entry = toc.get(path);
      if (entry !== undefined) return entry.type === 'whiteout' ? undefined : layer;
      if (toc.hasUnder(path)) return undefined;
    }
    return undefined;
  }

  #children(path: string): readonly Located[] {
    if (path !== '' && this.get(path)?.type !== 'dir') return [];
    const floor = this.#floor(path);
    // By name: settled, or implied to be a directory by a layer above and still looking for its attributes below.
    const names = new Map<string, Located | 'gone' | { readonly implied: number }>();
    for (let layer = this.#tocs.length - 1; layer >= floor; layer--) {
      const toc = this.#tocs[layer]!;
      for (const { name, entry } of toc.children(path)) {
        const known = names.get(name);
        if (known === 'gone' || (known !== undefined && 'entry' in known)) continue;
        const child = path === '' ? name : `${path}/${name}`;
        if (entry === undefined) {
          if (known === undefined) names.set(name, { implied: layer });
        } else if (entry.type === 'whiteout' && known === undefined && !toc.hasUnder(child)) names.set(name, 'gone');
        else if (entry.type === 'whiteout' || (known !== undefined && entry.type !== 'dir')) {
          names.set(name, { entry: impliedDir(child), layer: known?.implied ?? layer, path: child });
        } else names.set(name, this.#located(layer, entry));
      }
    }
    const found: Located[] = [];
    for (const [name, known] of names) {
      if (known === 'gone') continue;
      const child = path === '' ? name : `${path}/${name}`;
      found.push('entry' in known ? known : { entry: impliedDir(child), layer: known.implied, path: child });
    }
    return found.sort((a, b) => comparePaths(a.entry.path, b.entry.path));
  }

  #floor(folder: string): number {
    const known = this.#floors.get(folder);
    if (known !== undefined) return known;
    let floor = folder === '' ? 0 : this.#floor(parentOf(folder));
    for (let layer = this.#tocs.length - 1; layer >= floor; layer--) {
      const entry = this.#tocs[layer]!.get(folder);
      if (entry === undefined) continue;
      const hides = entry.type !== 'dir' || entry.opaque === true;
      if (!hides) continue;
      // What the same layer puts below a removed path is there; below a file nothing is.
      floor = entry.type === 'dir' || entry.type === 'whiteout' ? layer : layer + 1;
      break;
    }
    this.#floors.set(folder, floor);
    return floor;
  }
}

const parentOf = (path: string): string => {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
};

const impliedDir = (path: string): Entry => ({ path, type: 'dir', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0 });
