// Layers as directories, made once per diffID and shared by all roots that are mounted from them.
//
//   <root>/<name>/tree     the lower directory; <name> is short, because all of them must fit in overlayfs's options (4096 bytes)
//   <root>/<name>/made     JSON: what it is, and the boot it was made in
//   <root>/<name>/going    what `made` is called while somebody looks whether the directory can go
//   <root>/new-<id>/       one being made
//   <root>/old-<id>/       one being removed
//   <root>/using-<id>      the names that a living process works with (LayerUses)
//   <root>/removing        the lock of who removes
//
// A directory appears under its name by one rename, with its marker in it, so it is never half visible; of two processes that make the
// same one, the second discards its own. What was made before the machine last started is not trusted: after a crash a renamed directory
// can hold files without their content.
//
// A directory that some process has mounted or reads must not be removed. Whoever works with one says so first, and looks for its marker
// then; whoever removes one takes the marker away first, and looks for those who work with it then. So one of the two sees the other. Who
// finds a directory without its marker in the way of its own waits for the lock: it is either gone then, or has its marker again.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { Blobs, Options } from '../store/blobs.ts';
import { tryLock } from '../store/upload-lock.ts';
import { type ApplyOptions, applyLayer } from './apply.ts';
import type { Entry } from './entry.ts';
import type { Layer } from './layer.ts';
import type { MergedTree } from './merged.ts';

export interface UnpackedOptions {
  /** The folder of the cache. Its path should be short. */
  readonly root: string;
  readonly blobs: Pick<Blobs, 'open' | 'local'>;
  /** Whether owners are kept, which takes root. */
  readonly owners: boolean;
  readonly overlayXattrs: 'trusted' | 'user';
  /** A fresh name each time, for directories under way. */
  readonly newId: () => string;
  /** Keeps other processes from removing what this one works with. Without it nothing else may work in the folder. */
  readonly uses?: LayerUses;
  /** Names the run of the machine since it was started. By default what the kernel says. */
  readonly bootId?: string;
}

/** Which directories are worked with, by which processes. */
export interface LayerUses {
  /** This process works with the directory, until it ends. */
  hold(name: string): void;
  /** Some living process, this one counted, works with it. */
  isHeld(name: string): boolean;
}

/** Milliseconds between looks at the lock of who removes. It is held for the time of a few renames. */
const lockPause = 5;

interface Marker {
  readonly diffId: Digest;
  readonly boot: string;
  /** Directories that the layer implies, with the attributes they were given. */
  readonly implied?: readonly string[];
}

export class UnpackedLayers {
  readonly #options: UnpackedOptions;
  readonly #boot: string;
  readonly #making = new Map<string, Promise<string>>();

  constructor(options: UnpackedOptions) {
    this.#options = options;
    this.#boot = options.bootId ?? kernelBootId();
    mkdirSync(options.root, { recursive: true, mode: 0o700 });
  }

  /** The directory of the layer if it is there already. */
  path(diffId: Digest): string | undefined {
    const name = this.#name(diffId);
    if (!this.#valid(name)) return undefined;
    return this.#holds(name) ? this.#tree(name) : undefined;
  }

  /**
   * The directory of the layer, unpacked now if need be. `below` gives the tree of the layers under it, for directories that the layer
   * has things in but no entry for: they keep the attributes they have there. It is asked only for layers that have such directories.
   * Errors are those of `applyLayer`; nothing is left behind then.
   */
  async directory(layer: Layer, below?: () => Promise<MergedTree>, options: Options = {}): Promise<string> {
    const plain = this.#name(layer.diffId);
    if (!this.#holds(plain)) await this.#once(plain, () => this.#unpack(layer, plain, undefined, options));
    const implied = this.#marker(plain)?.implied ?? [];
    if (implied.length === 0 || below === undefined) return this.#tree(plain);
    const tree = await below();
    const found = implied.map((path) => dirBelow(tree, path));
    if (found.every((entry) => entry === undefined)) return this.#tree(plain);
    // Implied directories that stand on others below than the defaults: this form of the layer is for such chains only.
    const attributes = found.map((entry, index) => {
      const { mode, uid, gid, mtime } = entry ?? defaultDir;
      return [implied[index], mode, uid, gid, mtime];
    });
    const name = this.#name(layer.diffId, JSON.stringify(attributes));
    if (this.#holds(name)) return this.#tree(name);
    return this.#once(name, () => this.#unpack(layer, name, (path) => dirBelow(tree, path), options));
  }

  /**
   * Takes over `upper`, the upper directory that the layer was made from, as its unpacked form; it must be on the same filesystem and is
   * gone afterwards. Times must be those of the layer (`clampTree`).
   */
  adopt(diffId: Digest, upper: string): string {
    const name = this.#name(diffId);
    const fresh = this.#fresh();
    try {
      if (this.#holds(name)) {
        rmSync(upper, { recursive: true, force: true });
        return this.#tree(name);
      }
      mkdirSync(fresh, { mode: 0o700 });
      renameSync(upper, join(fresh, 'tree'));
      this.#mark(fresh, { diffId, boot: this.#boot });
      this.#publish(fresh, name);
      return this.#tree(name);
    } finally {
      rmSync(fresh, { recursive: true, force: true });
    }
  }

  /** Removes all forms of the layer; roots that are mounted from them must be gone. True when there was one. */
  remove(diffId: Digest): boolean {
    const start = this.#name(diffId);
    const names = readdirSync(this.#options.root).filter((name) => name === start || name.startsWith(`${start}.`));
    for (const name of names) this.#discard(name);
    return names.length > 0;
  }

  /**
   * Removes the directories of all layers that are not stored any more, but for those that a process works with, and what is left from
   * before the machine last started. Other processes may go on meanwhile. Answers the layers.
   */
  async removeUnstored(isStored: (diffId: Digest) => Promise<boolean>): Promise<readonly Digest[]> {
    const gone = new Set<Digest>();
    for (const name of this.#names()) {
      const marker = this.#marker(name);
      if (marker !== undefined && (await isStored(marker.diffId))) continue;
      if ((await this.#removeUnused(name)) && marker !== undefined) gone.add(marker.diffId);
    }
    return [...gone].sort();
  }

  /** True when the directory is gone, false when it is in use. */
  async #removeUnused(name: string): Promise<boolean> {
    if (this.#options.uses?.isHeld(name) === true) return false;
    const { root, newId } = this.#options;
    const unlock = await this.#locked();
    let old: string | undefined;
    try {
      const folder = join(root, name);
      renameIfThere(join(folder, 'made'), join(folder, 'going'));
      if (this.#options.uses?.isHeld(name) === true) {
        renameIfThere(join(folder, 'going'), join(folder, 'made'));
        return false;
      }
      old = join(root, `old-${newId()}`);
      renameIfThere(folder, old);
    } finally {
      unlock();
    }
    rmSync(old, { recursive: true, force: true });
    return true;
  }

  async #locked(): Promise<() => void> {
    for (;;) {
      const unlock = this.#tryLock();
      if (unlock !== undefined) return unlock;
      await sleep(lockPause);
    }
  }

  #tryLock(): (() => void) | undefined {
    return tryLock(join(this.#options.root, 'removing'), this.#options.newId());
  }

  #names(): readonly string[] {
    return readdirSync(this.#options.root).filter((name) => name !== 'removing' && !/^(new-|old-|using-|removing\.)/.test(name));
  }

  /** Every layer that is there, for clean-up by age or size. */
  list(): readonly Digest[] {
    const found = new Set<Digest>();
    for (const name of this.#names()) {
      const marker = this.#marker(name);
      if (marker !== undefined) found.add(marker.diffId);
    }
    return [...found].sort();
  }

  async #once(name: string, make: () => Promise<string>): Promise<string> {
    const known = this.#making.get(name);
    if (known !== undefined) return known.catch(() => this.#once(name, make));
    const making = make();
    this.#making.set(name, making);
    try {
      return await making;
    } finally {
      this.#making.delete(name);
    }
  }

  async #unpack(
    layer: Layer,
    name: string,
    implied: ((path: string) => Entry | undefined) | undefined,
    options: Options,
  ): Promise<string> {
    const { blobs, owners, overlayXattrs } = this.#options;
    const fresh = this.#fresh();
    const tree = join(fresh, 'tree');
    try {
      this.#options.uses?.hold(name);
      mkdirSync(fresh, { mode: 0o700 });
      mkdirSync(tree, { mode: 0o755 });
      const apply: ApplyOptions = { mode: 'overlay', owners, overlayXattrs, ...(implied && { implied }), ...options };
      const { impliedDirs } = await applyLayer(blobs, layer, tree, apply);
      const seen = impliedDirs.length > 0 ? { implied: impliedDirs } : {};
      this.#mark(fresh, { diffId: layer.diffId, boot: this.#boot, ...seen });
      this.#publish(fresh, name);
      return this.#tree(name);
    } finally {
      rmSync(fresh, { recursive: true, force: true });
    }
  }

  /** Gives a finished directory its name, unless another process was quicker. */
  #publish(fresh: string, name: string): void {
    const target = join(this.#options.root, name);
    for (;;) {
      try {
        renameSync(fresh, target);
        return;
      } catch (error) {
        const errno = errnoOf(error);
        if (errno !== 'ENOTEMPTY' && errno !== 'EEXIST') throw error;
        if (this.#valid(name)) return;
        this.#clearWay(name);
      }
    }
  }

  /** What is in the way has no marker: it is from before a crash, so that nobody of this boot uses it, or somebody is removing it. */
  #clearWay(name: string): void {
    let unlock = this.#tryLock();
    for (; unlock === undefined; unlock = this.#tryLock())
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lockPause);
    try {
      const folder = join(this.#options.root, name);
      // Its remover died before it could tell: as good as before.
      renameIfThere(join(folder, 'going'), join(folder, 'made'));
      if (!this.#valid(name)) this.#discard(name);
    } finally {
      unlock();
    }
  }

  #discard(name: string): void {
    const old = join(this.#options.root, `old-${this.#options.newId()}`);
    renameIfThere(join(this.#options.root, name), old);
    rmSync(old, { recursive: true, force: true });
  }

  /** Whether the directory is there; and from now on it stays. */
  #holds(name: string): boolean {
    this.#options.uses?.hold(name);
    return this.#valid(name);
  }

  #valid(name: string): boolean {
    return this.#marker(name) !== undefined;
  }

  #marker(name: string): Marker | undefined {
    let text: string;
    try {
      text = readFileSync(join(this.#options.root, name, 'made'), 'utf8');
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
      throw error;
    }
    try {
      const marker = JSON.parse(text) as Marker;
      return marker.boot === this.#boot ? marker : undefined;
    } catch {
      // Cut off by a crash: as untrusted as the rest of it.
      return undefined;
    }
  }

  #mark(folder: string, marker: Marker): void {
    const fresh = join(folder, `made-${this.#options.newId()}`);
    writeFileSync(fresh, JSON.stringify(marker));
    renameSync(fresh, join(folder, 'made'));
  }

  #fresh(): string {
    return join(this.#options.root, `new-${this.#options.newId()}`);
  }

  #tree(name: string): string {
    return join(this.#options.root, name, 'tree');
  }

  /** 132 bits of a hash: enough that nobody finds two layers with one name. A second form has a suffix. */
  #name(diffId: Digest, form?: string): string {
    const short = createHash('sha256').update(diffId).digest('base64url').slice(0, 22).replace(/^-/, '_');
    return form === undefined ? short : `${short}.${createHash('sha256').update(form).digest('base64url').slice(0, 8)}`;
  }
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

const defaultDir = { mode: 0o755, uid: 0, gid: 0, mtime: 0 } as const;

const dirBelow = (below: MergedTree, path: string): Entry | undefined => {
  const entry = below.get(path);
  return entry?.type === 'dir' ? entry : undefined;
};

function kernelBootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch (error) {
    throw new SlipwayError('SANDBOX_UNAVAILABLE', 'unpacked layers need Linux with /proc mounted', { cause: error });
  }
}
