// What Node has no call for: devices, fifos and extended attributes. One process of tar and one of setfattr for a whole layer, and only for
// layers that need them.
import { spawn } from 'node:child_process';
import { errnoOf, SlipwayError } from '../errors.ts';
import { encodeHeader, endOfArchive } from '../tar/encode.ts';
import { encodeName } from '../tar/name.ts';
import type { Entry } from './entry.ts';
import type { Leftovers } from './unpack-tree.ts';

export interface MakeOptions {
  /** Whether owners are set. */
  readonly owners: boolean;
  /** Where overlayfs looks for its attributes: `trusted`, or `user` when mounted by a user (`userxattr`). */
  readonly overlayXattrs: 'trusted' | 'user';
  readonly signal?: AbortSignal;
}

/** Makes nodes; to be called before directories get their times. */
export async function makeNodes(root: string, { nodes }: Leftovers, options: MakeOptions): Promise<void> {
  if (nodes.length === 0) return;
  // Without root the kernel makes whiteouts (device 0:0) and fifos, and no other device.
  const refused = options.owners
    ? undefined
    : nodes.find(({ type, major, minor }) => type !== 'fifo' && (major !== 0 || minor !== 0));
  if (refused !== undefined) {
    throw new SlipwayError('UNSUPPORTED', `${refused.path} is a device, which only root can make`, { hint: 'Run as root.' });
  }
  const input = Buffer.concat([
    ...nodes.map((entry) => withoutDevice(entry, options)).map((entry) => encodeHeader({ ...entry, xattrs: {} })),
    endOfArchive,
  ]);
  const owners = options.owners ? ['--numeric-owner', '--same-owner'] : ['--no-same-owner'];
  await run('tar', ['-C', root, ...owners, '-xpf', '-'], input, 'tar', options.signal);
}

/**
 * Root of a user namespace may not make devices either, and nearly every distribution's /dev has some. What runs there gets another /dev
 * anyway; elsewhere such a path seems not to be there (a whiteout, so that nothing of a layer below shows through). The layer itself
 * has them all the same: images are made from tables of contents, not from these directories.
 */
const withoutDevice = (entry: Entry, { owners, overlayXattrs }: MakeOptions): Entry =>
  owners && overlayXattrs === 'user' && entry.type !== 'fifo'
    ? { ...entry, mode: 0, uid: 0, gid: 0, major: 0, minor: 0, type: 'char' }
    : entry;

/** Sets extended attributes; to be called last, because a change of owner drops capabilities. */
export async function setXattrs(root: string, { xattrs, opaque }: Leftovers, options: MakeOptions): Promise<void> {
  const byPath = new Map(xattrs.map(({ path, xattrs }) => [path, Object.entries(xattrs)]));
  for (const path of opaque) {
    byPath.set(path, [
      ...(byPath.get(path) ?? []),
      [`${options.overlayXattrs}.overlay.opaque`, Buffer.from('y').toString('base64')],
    ]);
  }
  const parts: Buffer[] = [];
  for (const [path, values] of byPath) {
    const kept = values.filter(([name]) => options.owners || name.startsWith('user.'));
    if (kept.length === 0) continue;
    parts.push(Buffer.from('# file: ./'), quoted(encodeName(path)), Buffer.from('\n'));
    for (const [name, value] of kept) {
      parts.push(quoted(encodeName(name)), Buffer.from(value === '' ? '=""\n' : `=0s${value}\n`));
    }
    parts.push(Buffer.from('\n'));
  }
  if (parts.length > 0) await run('setfattr', ['-h', '--restore=-'], Buffer.concat(parts), 'attr', options.signal, root);
}

/** As getfattr writes names: what could end one as backslash and three octal digits. */
function quoted(name: Buffer): Buffer {
  const parts: number[] = [];
  for (const byte of name) {
    if (byte === 0x5c || byte === 0x0a || byte === 0x0d || byte === 0x3d) {
      parts.push(...Buffer.from(`\\${byte.toString(8).padStart(3, '0')}`));
    } else parts.push(byte);
  }
  return Buffer.from(parts);
}

function run(
  tool: string,
  args: readonly string[],
  input: Buffer,
  from: string,
  signal: AbortSignal | undefined,
  cwd?: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(tool, args, {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
      ...(cwd && { cwd }),
      ...(signal && { signal }),
    });
    const errors: Buffer[] = [];
    child.stderr.on('data', (chunk: Buffer) => {
      if (errors.length < 16) errors.push(chunk);
    });
    child.on('error', (error) => {
      if (signal?.aborted) reject(new SlipwayError('CANCELLED', 'cancelled', { cause: error }));
      else if (errnoOf(error) === 'ENOENT') reject(missingTool(tool, from));
      else reject(new SlipwayError('STORE', `${tool} cannot be started: ${error.message}`, { cause: error }));
    });
    child.on('close', (code) => {
      if (code === 0) resolve();
      else
        reject(
          new SlipwayError(
            'STORE',
            `${tool} failed while unpacking a layer: ${Buffer.concat(errors).toString('utf8').trim().slice(0, 2000)}`,
          ),
        );
    });
    // A tool that ends early is reported by its exit; the broken pipe adds nothing.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}

export const missingTool = (tool: string, from: string): SlipwayError =>
  new SlipwayError('SANDBOX_UNAVAILABLE', `this layer needs ${tool}, which is not installed`, {
    hint: `Install the package ${from}.`,
  });
