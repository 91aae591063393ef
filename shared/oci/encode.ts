// The bytes of the documents we make. One document has one encoding: members in a fixed order (that of the Go structs of the image
// spec), unknown members after them sorted by the bytes of their names, no white space, `undefined` left out. A digest is taken of
// what this writes, so a change here changes every digest: the golden tests hold it still.
import type { ImageConfig } from './config.ts';
import type { ImageIndex, ImageManifest } from './manifest.ts';

/** The known members of an object in order, with the shape of their values where those are objects (or arrays of them) too. */
interface Shape {
  readonly order: readonly string[];
  readonly inner: Readonly<Record<string, Shape>>;
}

const shape = (order: string, inner: Readonly<Record<string, Shape>> = {}): Shape => ({ order: order.split(' '), inner });
/** No known members: all are sorted. */
const sorted: Shape = { order: [], inner: {} };

const platform = shape('architecture os os.version os.features variant');
const descriptor = shape('mediaType digest size urls annotations data artifactType platform', { platform });
const manifest = shape('schemaVersion mediaType artifactType config layers subject annotations', {
  config: descriptor,
  layers: descriptor,
  subject: descriptor,
});
const index = shape('schemaVersion mediaType artifactType manifests subject annotations', {
  manifests: descriptor,
  subject: descriptor,
});
const healthcheck = shape('Test Interval Timeout StartPeriod StartInterval Retries');
const runtime = shape(
  'User ExposedPorts Env Entrypoint Cmd Volumes WorkingDir Labels StopSignal ArgsEscaped Healthcheck OnBuild Shell',
  { Healthcheck: healthcheck },
);
const config = shape('created author architecture os os.version os.features variant config rootfs history', {
  config: runtime,
  rootfs: shape('type diff_ids'),
  history: shape('created created_by author comment empty_layer'),
});

const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

function write(value: unknown, as: Shape): string {
  if (Array.isArray(value)) return `[${value.map((item) => (item === undefined ? 'null' : write(item, as))).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = value as Readonly<Record<string, unknown>>;
  const known = as.order.filter((name) => Object.hasOwn(members, name));
  const others = Object.keys(members)
    .filter((name) => !as.order.includes(name))
    .sort(byBytes);
  const parts: string[] = [];
  for (const name of [...known, ...others]) {
    const item = members[name];
    if (item !== undefined) parts.push(`${JSON.stringify(name)}:${write(item, as.inner[name] ?? sorted)}`);
  }
  return `{${parts.join(',')}}`;
}

export const encodeManifest = (document: ImageManifest): Uint8Array => Buffer.from(write(document, manifest));
export const encodeIndex = (document: ImageIndex): Uint8Array => Buffer.from(write(document, index));
export const encodeConfig = (document: ImageConfig): Uint8Array => Buffer.from(write(document, config));

/** Any JSON value with every object's members sorted by the bytes of their names: what keys are hashed from. */
export const canonicalJson = (value: unknown): string => write(value, sorted);
