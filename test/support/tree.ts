// The compare tool: what is in an image, in a form two builders' results can be held against each other.
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Builder } from './builder.ts';
import { scratch } from './scratch.ts';

export interface TreeEntry {
  readonly path: string;
  readonly type: 'file' | 'dir' | 'symlink' | 'char' | 'block' | 'fifo';
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size?: number;
  readonly sha256?: string;
  readonly link?: string;
  /** `major:minor` */
  readonly device?: string;
  /** All names of the same file, sorted, when there is more than one. */
  readonly hardLinks?: readonly string[];
  /** Name to hex. */
  readonly xattrs?: Readonly<Record<string, string>>;
}

export interface ImageSnapshot {
  /** The image's config as stored. */
  readonly config: Readonly<Record<string, unknown>>;
  /** `entries` are the names in the tar, in order. */
  readonly layers: readonly { readonly diffId: string; readonly size: number; readonly entries: readonly string[] }[];
  /** Sorted by path. Modification times are not in it: no builder promises them. */
  readonly tree: readonly TreeEntry[];
  /** What is wrong with the layers themselves, though a tree came out: entries below a link, missing parents, whiteouts of nothing. */
  readonly notes: readonly string[];
}

interface Reader {
  readonly process: ChildProcess;
  readonly waiting: { resolve(line: string): void; reject(error: Error): void }[];
}

/** One for all images of a test file, because its start takes longer than most images. It ends with this process, which closes its input. */
let reader: Reader | undefined;

function startReader(): Reader {
  const python = process.env.PYTHON ?? '/usr/bin/python3';
  const child = spawn(python, [join(import.meta.dirname, 'apply-layers.py')], { stdio: ['pipe', 'pipe', 'inherit'] });
  const started: Reader = { process: child, waiting: [] };
  const failed = (error: Error): void => {
    if (reader === started) reader = undefined;
    for (const { reject } of started.waiting.splice(0)) reject(error);
  };
  child.once('error', failed);
  child.once('close', (code, signal) => failed(new Error(`apply-layers.py ended with ${code ?? signal}`)));
  child.stdin.on('error', failed);
  createInterface({ input: child.stdout }).on('line', (line) => started.waiting.shift()?.resolve(line));
  // Nothing waits for it when the tests are over.
  child.unref();
  for (const stream of [child.stdin, child.stdout]) (stream as Socket).unref();
  return started;
}

/** Reads an image in skopeo's `dir:` format. */
export async function snapshotOf(folder: string): Promise<ImageSnapshot> {
  reader ??= startReader();
  const { process: child, waiting } = reader;
  const line = await new Promise<string>((resolve, reject) => {
    waiting.push({ resolve, reject });
    child.stdin?.write(`${JSON.stringify(folder)}\n`);
  });
  const { image, error } = JSON.parse(line) as { readonly image?: ImageSnapshot; readonly error?: string };
  if (image === undefined) throw new Error(`${folder}: ${error}`);
  return image;
}

/** Takes an image out of a builder and reads it. */
export async function snapshot(builder: Builder, reference: string): Promise<ImageSnapshot> {
  await using folder = await scratch('slw-export-');
  const image = join(folder.path, 'image');
  await builder.export(reference, image);
  return await snapshotOf(image);
}

/** One point in which two images differ. `subject` is `/path` in the tree, `config.Name`, or `layers`. */
export interface Difference {
  readonly subject: string;
  /** Which property of a tree entry: `type`, `mode`, ... or `exists`. */
  readonly property?: string;
  readonly left: unknown;
  readonly right: unknown;
}

const entryProperties = ['type', 'mode', 'uid', 'gid', 'size', 'sha256', 'link', 'device', 'hardLinks', 'xattrs'] as const;

/** Members of `config` that the Dockerfile reference and the image spec fix. */
const configMembers = [
  ...[
    'Env',
    'Cmd',
    'Entrypoint',
    'ExposedPorts',
    'Volumes',
    'WorkingDir',
    'User',
    'Labels',
    'OnBuild',
    'Healthcheck',
    'StopSignal',
  ],
  'Shell',
] as const;
const imageMembers = ['architecture', 'os', 'author'] as const;

/** JSON with sorted keys, in which absent, null, empty text, empty list and empty object are the same: configs use them alike. */
function canonical(value: unknown): string {
  const plain = (v: unknown): unknown => {
    if (Array.isArray(v)) return v.map(plain);
    if (typeof v !== 'object' || v === null) return v;
    return Object.fromEntries(
      Object.entries(v)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, inner]) => [key, plain(inner)]),
    );
  };
  const empty =
    value === undefined ||
    value === null ||
    value === '' ||
    (typeof value === 'object' && Object.keys(value as object).length === 0);
  return empty ? '' : JSON.stringify(plain(value));
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

const octal = (property: string, value: unknown) =>
  property === 'mode' && typeof value === 'number' ? `0${value.toString(8)}` : value;

function compareTrees(left: readonly TreeEntry[], right: readonly TreeEntry[]): Difference[] {
  const found: Difference[] = [];
  const rest = new Map(right.map((entry) => [entry.path, entry]));
  for (const a of left) {
    const b = rest.get(a.path);
    rest.delete(a.path);
    if (b === undefined) {
      found.push({ subject: a.path, property: 'exists', left: a.type, right: undefined });
      continue;
    }
    for (const property of entryProperties)
      if (canonical(a[property]) !== canonical(b[property]))
        found.push({ subject: a.path, property, left: octal(property, a[property]), right: octal(property, b[property]) });
  }
  for (const b of rest.values()) found.push({ subject: b.path, property: 'exists', left: undefined, right: b.type });
  return found;
}

/** Every difference between two images in tree and config, in the order of the left one. */
export function compareImages(left: ImageSnapshot, right: ImageSnapshot): Difference[] {
  const found = compareTrees(left.tree, right.tree);
  const a = record(left.config.config);
  const b = record(right.config.config);
  // No working directory and `/` mean the same (image spec config.md).
  const normal = (member: string, value: unknown) => canonical(member === 'WorkingDir' && value === '/' ? '' : value);
  for (const member of configMembers)
    if (normal(member, a[member]) !== normal(member, b[member]))
      found.push({ subject: `config.${member}`, left: a[member], right: b[member] });
  for (const member of imageMembers)
    if (canonical(left.config[member]) !== canonical(right.config[member]))
      found.push({ subject: member, left: left.config[member], right: right.config[member] });
  return found;
}

/** What must hold inside one image: as many layers as history rows without `empty_layer`, and diffIDs that are those of the layers. */
export function inconsistencies(image: ImageSnapshot): string[] {
  const found: string[] = [];
  const history = image.config.history as readonly { empty_layer?: boolean }[] | undefined;
  const rows = (history ?? []).filter((row) => row.empty_layer !== true).length;
  if (rows !== image.layers.length) found.push(`${rows} history rows with a layer, ${image.layers.length} layers`);
  const diffIds = record(image.config.rootfs).diff_ids as readonly string[] | undefined;
  const actual = image.layers.map((layer) => layer.diffId);
  if (JSON.stringify(diffIds) !== JSON.stringify(actual))
    found.push(`diff_ids ${JSON.stringify(diffIds)} but layers are ${JSON.stringify(actual)}`);
  return found;
}

export function describeDifference(difference: Difference): string {
  const property = difference.property === undefined ? '' : ` ${difference.property}`;
  return `${difference.subject}${property}: ${JSON.stringify(difference.left)} | ${JSON.stringify(difference.right)}`;
}
