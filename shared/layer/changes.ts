// The change set that a command left in the upper directory of an overlay (Documentation/filesystems/overlayfs.rst), as sorted entries.
import { spawn } from 'node:child_process';
import { lstatSync, lutimesSync, readdirSync, readlinkSync, type Stats } from 'node:fs';
import { errnoOf, SlipwayError, throwIfCancelled } from '../errors.ts';
import { comparePaths, decodeName, encodeName } from '../tar/name.ts';
import { type Entry, type EntryType, type EntryWithBody, type FileState, opaqueName, whiteoutPrefix } from './entry.ts';
import { missingTool } from './node-maker.ts';

export interface ChangesOptions {
  readonly signal?: AbortSignal;
}

/**
 * Everything in `upper`, in path order, as it goes into a layer: whiteout devices as `.wh.` files, opaque directories with `.wh..wh..opq`,
 * further names of a file as hard links, overlayfs's own attributes left out. Directories that were only copied up are there as well, as
 * docker has them. Sockets are left out: they mean nothing without their process. The root itself has no entry.
 */
export async function changesOf(upper: string, options: ChangesOptions = {}): Promise<EntryWithBody[]> {
  // A command that changed nothing: there is nothing to ask a process about.
  if (readdirSync(upper).length === 0) return [];
  const attributes = await readXattrs(upper, options.signal);
  const entries: EntryWithBody[] = [];
  const links = new Map<string, { readonly entry: Entry; readonly body: EntryWithBody['body'] }[]>();
  if (isOpaque(attributes.get(''))) entries.push(marker(opaqueName, 0));
  walk(upper, '', options.signal, (path, stat) => {
    const entry = entryOf(upper, path, stat, attributes.get(path));
    if (entry === undefined) return;
    const body: EntryWithBody['body'] =
      entry.size > 0 ? { kind: 'file', path: below(upper, path), offset: 0, state: stateOf(stat) } : undefined;
    if (entry.type === 'dir' && isOpaque(attributes.get(path))) entries.push(marker(`${path}/${opaqueName}`, entry.mtime));
    if (stat.nlink > 1 && entry.type !== 'dir' && !isWhiteout(stat)) {
      const inode = `${stat.dev}:${stat.ino}`;
      links.set(inode, [...(links.get(inode) ?? []), { entry, body }]);
      return;
    }
    entries.push({ entry, ...(body && { body }) });
  });
  for (const names of links.values()) {
    names.sort((a, b) => comparePaths(a.entry.path, b.entry.path));
    const [first, ...others] = names;
    entries.push({ entry: first!.entry, ...(first!.body && { body: first!.body }) });
    for (const { entry } of others) entries.push({ entry: hardLink(entry, first!.entry.path) });
  }
  return entries.sort((a, b) => comparePaths(a.entry.path, b.entry.path));
}

/** Sets every time in `upper` that is later than `epoch` to it, as the layer has it, so that the tree can stand for the layer. */
export function clampTree(upper: string, epoch: number, options: ChangesOptions = {}): void {
  walk(upper, '', options.signal, (path, stat) => {
    if (stat.mtimeMs > epoch * 1000) lutimesSync(bytesPath(upper, path), epoch, epoch);
  });
  if (lstatSync(upper).mtimeMs > epoch * 1000) lutimesSync(upper, epoch, epoch);
}

/** Children before their directory: setting the directory's own time comes last. */
function walk(root: string, folder: string, signal: AbortSignal | undefined, visit: (path: string, stat: Stats) => void): void {
  throwIfCancelled(signal);
  for (const bytes of readdirSync(bytesPath(root, folder), { encoding: 'buffer' })) {
    const name = decodeName(bytes);
    const path = folder === '' ? name : `${folder}/${name}`;
    const stat = lstatSync(bytesPath(root, path));
    if (stat.isDirectory()) walk(root, path, signal, visit);
    visit(path, stat);
  }
}

const stateOf = ({ dev, ino, size, mtimeMs, ctimeMs }: Stats): FileState => ({ dev, ino, size, mtimeMs, ctimeMs });

const below = (root: string, path: string): string => (path === '' ? root : `${root}/${path}`);
const bytesPath = (root: string, path: string): string | Buffer => {
  const full = below(root, path);
  return full.isWellFormed() ? full : encodeName(full);
};

const isWhiteout = (stat: Stats): boolean => stat.isCharacterDevice() && stat.rdev === 0;

const isOpaque = (xattrs: Readonly<Record<string, string>> | undefined): boolean =>
  xattrs?.['trusted.overlay.opaque'] === opaqueValue || xattrs?.['user.overlay.opaque'] === opaqueValue;
const opaqueValue = Buffer.from('y').toString('base64');

const marker = (path: string, mtime: number): EntryWithBody => ({
  entry: { path, type: 'file', mode: 0, uid: 0, gid: 0, size: 0, mtime },
});

/** The entry of a path that was added or changed, the whiteout of one that was removed, undefined for what no layer holds. */
function entryOf(
  upper: string,
  path: string,
  stat: Stats,
  xattrs: Readonly<Record<string, string>> | undefined,
): Entry | undefined {
  const slash = path.lastIndexOf('/');
  const name = path.slice(slash + 1);
  if (isWhiteout(stat)) return marker(`${path.slice(0, slash + 1)}${whiteoutPrefix}${name}`, 0).entry;
  if (name.startsWith(whiteoutPrefix)) {
    throw new SlipwayError(
      'UNSUPPORTED',
      `a layer cannot hold /${path}: names that begin with "${whiteoutPrefix}" mean removed files`,
      {
        hint: 'Remove the file in the step that makes it.',
      },
    );
  }
  const type = typeOf(stat);
  if (type === undefined) return undefined;
  const kept = Object.fromEntries(Object.entries(xattrs ?? {}).filter(([key]) => !/^(trusted|user)\.overlay\./.test(key)));
  if (xattrs?.['trusted.overlay.redirect'] !== undefined || xattrs?.['trusted.overlay.metacopy'] !== undefined) {
    throw new SlipwayError(
      'SANDBOX',
      `/${path} was renamed by reference (redirect_dir or metacopy): the overlay must be mounted without them`,
    );
  }
  const { major, minor } = deviceNumbers(stat.rdev);
  return {
    path,
    type,
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    size: type === 'file' ? stat.size : 0,
    mtime: Math.floor(stat.mtimeMs / 1000),
    ...(type === 'symlink' && { link: decodeName(readlinkSync(bytesPath(upper, path), { encoding: 'buffer' })) }),
    ...((type === 'char' || type === 'block') && { major, minor }),
    ...(Object.keys(kept).length > 0 && { xattrs: kept }),
  };
}

function hardLink({ path, mode, uid, gid, mtime }: Entry, link: string): Entry {
  return { path, type: 'hardlink', mode, uid, gid, size: 0, mtime, link };
}

function typeOf(stat: Stats): EntryType | undefined {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'dir';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isCharacterDevice()) return 'char';
  if (stat.isBlockDevice()) return 'block';
  if (stat.isFIFO()) return 'fifo';
  return undefined;
}

/** Linux's dev_t as glibc encodes it. */
export function deviceNumbers(rdev: number): { readonly major: number; readonly minor: number } {
  const value = BigInt(rdev);
  return {
    major: Number(((value >> 8n) & 0xfffn) | ((value >> 32n) & 0xfffff000n)),
    minor: Number((value & 0xffn) | ((value >> 12n) & 0xffffff00n)),
  };
}

/** All extended attributes below `root`, by path: names to base64 values. One process, whatever the size of the tree. */
async function readXattrs(
  root: string,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>> {
  const output = await getfattr(root, signal);
  const found = new Map<string, Record<string, string>>();
  let current: Record<string, string> = {};
  for (const line of output.toString('latin1').split('\n')) {
    if (line.startsWith('# file: ')) {
      const path = decodeName(unquoted(line.slice(8))).replace(/^\.(?:\/|$)/, '');
      current = Object.create(null) as Record<string, string>;
      found.set(path, current);
    } else if (line !== '') {
      const equals = line.indexOf('=');
      const name = decodeName(unquoted(equals < 0 ? line : line.slice(0, equals)));
      const value = equals < 0 ? '' : line.slice(equals + 1);
      current[name] = value.startsWith('0x') ? Buffer.from(value.slice(2), 'hex').toString('base64') : '';
    }
  }
  return found;
}

/** Undoes getfattr's backslash and three octal digits. `text` is Latin-1: a character a byte. */
const unquoted = (text: string): Buffer =>
  Buffer.from(
    text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8))),
    'latin1',
  );

function getfattr(root: string, signal: AbortSignal | undefined): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const args = ['-R', '-P', '-h', '-d', '-m', '-', '-e', 'hex', '--', '.'];
    const child = spawn('getfattr', args, {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
      ...(signal && { signal }),
    });
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    child.on('error', (error) => {
      if (signal?.aborted) reject(new SlipwayError('CANCELLED', 'cancelled', { cause: error }));
      else if (errnoOf(error) === 'ENOENT') reject(missingTool('getfattr', 'attr'));
      else reject(new SlipwayError('STORE', `getfattr cannot be started: ${error.message}`, { cause: error }));
    });
    child.on('close', (code) => {
      if (code === 0) return resolve(Buffer.concat(output));
      const said = Buffer.concat(errors).toString('utf8').trim().slice(0, 2000);
      reject(
        new SlipwayError('STORE', `the attributes of a step's files cannot be read: ${said || `getfattr ended with ${code}`}`),
      );
    });
  });
}
