// How an image's config changes while its stage is built. Everything here returns a new value and keeps members it does not know.
import type { History, ImageConfig, RuntimeConfig } from '../oci/config.ts';
import type { Platform } from '../oci/platform.ts';
import type { ConfigEdit } from './plan.ts';

/** Docker's PATH for an image that sets none. */
export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** `comment` of every history row we write; tools look for it. */
export const historyComment = 'buildkit.dockerfile.v0';

/** `NAME=value` at the first `=`; a bare NAME has the empty value. */
export function splitEnv(entry: string): readonly [name: string, value: string] {
  const equals = entry.indexOf('=');
  return equals < 0 ? [entry, ''] : [entry.slice(0, equals), entry.slice(equals + 1)];
}

/** Replaces in place, else appends: the order of Env is part of an image. */
function withEnv(env: readonly string[], changes: readonly (readonly [string, string])[]): string[] {
  const result = [...env];
  const index = new Map<string, number>();
  result.forEach((entry, i) => {
    const [name] = splitEnv(entry);
    if (!index.has(name)) index.set(name, i);
  });
  for (const [name, value] of changes) {
    const at = index.get(name);
    if (at === undefined) index.set(name, result.push(`${name}=${value}`) - 1);
    else result[at] = `${name}=${value}`;
  }
  return result;
}

const withKeys = (
  old: Readonly<Record<string, Record<string, never>>> | undefined,
  keys: readonly string[],
): Record<string, Record<string, never>> => ({ ...old, ...Object.fromEntries(keys.map((key) => [key, {}])) });

/** The config after `edit`. Empty edits give an equal config. */
export function applyEdit(config: ImageConfig, edit: ConfigEdit): ImageConfig {
  const old: RuntimeConfig = config.config ?? {};
  const next: { -readonly [K in keyof RuntimeConfig]: RuntimeConfig[K] } = { ...old, ...edit.set };
  if (edit.env) next.Env = withEnv(old.Env ?? [], edit.env);
  if (edit.labels) next.Labels = { ...old.Labels, ...Object.fromEntries(edit.labels) };
  if (edit.ports) next.ExposedPorts = withKeys(old.ExposedPorts, edit.ports);
  if (edit.volumes) next.Volumes = withKeys(old.Volumes, edit.volumes);
  if (edit.onbuild) next.OnBuild = [...(old.OnBuild ?? []), ...edit.onbuild];
  if (edit.healthcheck) next.Healthcheck = edit.healthcheck;
  for (const name of edit.unset ?? []) delete next[name];
  return { ...config, ...(edit.author !== undefined && { author: edit.author }), config: next };
}

export interface HistoryRow {
  readonly createdBy: string;
  /** RFC 3339. */
  readonly created?: string;
  /** The step made no layer. */
  readonly empty: boolean;
}

/** The config with one more history row; unchanged for an empty `createdBy` (see `Step.createdBy`). */
export function withHistory(config: ImageConfig, row: HistoryRow): ImageConfig {
  if (row.createdBy === '') return config;
  const entry: History = {
    ...(row.created !== undefined && { created: row.created }),
    created_by: row.createdBy,
    comment: historyComment,
    ...(row.empty && { empty_layer: true }),
  };
  return { ...config, history: [...(config.history ?? []), entry] };
}

/**
 * What a stage starts from: its base's config (an image's, or another stage's result) without ONBUILD triggers and time of creation, or
 * for `undefined` (scratch) an empty one. PATH is always set.
 */
export function startConfig(base: ImageConfig | undefined, platform: Platform): ImageConfig {
  if (base === undefined) {
    return {
      architecture: platform.architecture,
      os: platform.os,
      ...(platform.variant !== undefined && { variant: platform.variant }),
      ...(platform['os.version'] !== undefined && { 'os.version': platform['os.version'] }),
      ...(platform['os.features'] !== undefined && { 'os.features': platform['os.features'] }),
      config: { Env: [`PATH=${defaultPath}`], WorkingDir: '/' },
      rootfs: { type: 'layers', diff_ids: [] },
    };
  }
  const { created: _, ...rest } = base;
  const { OnBuild: __, ...config } = base.config ?? {};
  const env = config.Env ?? [];
  const hasPath = env.some((entry) => splitEnv(entry)[0] === 'PATH');
  return { ...rest, config: hasPath ? config : { ...config, Env: [...env, `PATH=${defaultPath}`] } };
}
