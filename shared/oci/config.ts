// OCI image spec config.md, with the fields Docker adds to it (Healthcheck, OnBuild, Shell, ...).
import { type Digest, parseDigest } from './digest.ts';
import {
  asArray,
  asBoolean,
  asInteger,
  asObject,
  asString,
  asStringMap,
  asStrings,
  invalid,
  type Members,
  optional,
  parseJson,
  withoutNulls,
} from './fields.ts';

export interface Healthcheck {
  readonly Test?: readonly string[];
  /** Nanoseconds, as in Docker's config. */
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly StartPeriod?: number;
  readonly StartInterval?: number;
  readonly Retries?: number;
}

export interface RuntimeConfig {
  readonly User?: string;
  readonly ExposedPorts?: Readonly<Record<string, Record<string, never>>>;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Volumes?: Readonly<Record<string, Record<string, never>>>;
  readonly WorkingDir?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
  readonly Healthcheck?: Healthcheck;
  readonly OnBuild?: readonly string[];
  readonly Shell?: readonly string[];
  /** Windows only; kept so that a config is not changed by passing through. */
  readonly ArgsEscaped?: boolean;
}

export interface History {
  /** RFC 3339. */
  readonly created?: string;
  readonly created_by?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly empty_layer?: boolean;
}

export interface ImageConfig {
  readonly created?: string;
  readonly author?: string;
  readonly architecture: string;
  readonly os: string;
  readonly 'os.version'?: string;
  readonly 'os.features'?: readonly string[];
  readonly variant?: string;
  readonly config?: RuntimeConfig;
  readonly rootfs: { readonly type: 'layers'; readonly diff_ids: readonly Digest[] };
  readonly history?: readonly History[];
}

/** Bytes of a config document. Real ones stay under 100 KiB; the bound keeps a hostile one from filling memory. */
export const configLimit = 8 * 1024 * 1024;

/** Go's set of names: `{"80/tcp": {}}`; some writers put null for the empty object. */
function asNameSet(value: unknown, where: string): Readonly<Record<string, Record<string, never>>> {
  const set = asObject(value, where);
  for (const [name, item] of Object.entries(set)) optional(item, `${where}[${JSON.stringify(name)}]`, asObject);
  return Object.fromEntries(Object.keys(set).map((name) => [name, {}]));
}

function readHealthcheck(value: unknown, where: string): Healthcheck {
  const from = asObject(value, where);
  optional(from.Test, `${where}.Test`, asStrings);
  for (const name of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval', 'Retries']) {
    optional(from[name], `${where}.${name}`, asInteger);
  }
  return withoutNulls(from) as Healthcheck;
}

function readRuntimeConfig(value: unknown, where: string): RuntimeConfig {
  const from = asObject(value, where);
  for (const name of ['User', 'WorkingDir', 'StopSignal']) optional(from[name], `${where}.${name}`, asString);
  for (const name of ['Env', 'Entrypoint', 'Cmd', 'OnBuild', 'Shell']) optional(from[name], `${where}.${name}`, asStrings);
  optional(from.Labels, `${where}.Labels`, asStringMap);
  optional(from.ArgsEscaped, `${where}.ArgsEscaped`, asBoolean);
  const ports = optional(from.ExposedPorts, `${where}.ExposedPorts`, asNameSet);
  const volumes = optional(from.Volumes, `${where}.Volumes`, asNameSet);
  const health = optional(from.Healthcheck, `${where}.Healthcheck`, readHealthcheck);
  return {
    ...(withoutNulls(from) as RuntimeConfig),
    ...(ports && { ExposedPorts: ports }),
    ...(volumes && { Volumes: volumes }),
    ...(health && { Healthcheck: health }),
  };
}

function readHistory(value: unknown, where: string): History {
  const from = asObject(value, where);
  for (const name of ['created', 'created_by', 'author', 'comment']) optional(from[name], `${where}.${name}`, asString);
  optional(from.empty_layer, `${where}.empty_layer`, asBoolean);
  return withoutNulls(from) as History;
}

function readRootfs(value: unknown, where: string): { readonly type: 'layers'; readonly diff_ids: readonly Digest[] } & Members {
  const from = asObject(value, where);
  if (from.type !== 'layers') throw invalid(`${where}.type`, `must be "layers", not ${JSON.stringify(from.type)}`);
  const diffIds = optional(from.diff_ids, `${where}.diff_ids`, asArray) ?? [];
  return { ...from, type: 'layers', diff_ids: diffIds.map((id, i) => parseDigest(id, `${where}.diff_ids[${i}]`)) };
}

/**
 * The image config in `bytes` (at most 8 MiB). Members that are null are dropped, unknown ones kept.
 * @throws INVALID_DOCUMENT or INVALID_DIGEST naming the member; TOO_LARGE
 */
export function parseConfig(bytes: Uint8Array): ImageConfig {
  const from = asObject(parseJson(bytes, 'config', configLimit), 'config');
  const architecture = asString(from.architecture, 'config.architecture');
  const os = asString(from.os, 'config.os');
  for (const name of ['created', 'author', 'os.version', 'variant']) optional(from[name], `config.${name}`, asString);
  optional(from['os.features'], 'config["os.features"]', asStrings);
  const config = optional(from.config, 'config.config', readRuntimeConfig);
  const rootfs = readRootfs(from.rootfs, 'config.rootfs');
  const history = optional(from.history, 'config.history', asArray)?.map((item, i) => readHistory(item, `config.history[${i}]`));
  return { ...withoutNulls(from), architecture, os, rootfs, ...(config && { config }), ...(history && { history }) };
}
