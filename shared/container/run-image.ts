// Runs an image: its layers as they are unpacked in the home, a writable layer that is gone afterwards, the command in the sandbox.
import type { Image } from '../image/read.ts';
import type { Layer } from '../layer/layer.ts';
import type { MergedTree } from '../layer/merged.ts';
import type { RunOptions, RunResult, RunSpec, Sandbox, SandboxMount } from '../sandbox/sandbox.ts';
import { containerCommand, containerEnv } from './command.ts';
import { whyNoStart } from './start-check.ts';
import { type Accounts, resolveUser } from './user.ts';

/** What of a home's engine is needed. */
export interface ContainerParts {
  readonly sandbox: Sandbox;
  /** The unpacked directories of the layers, bottom first; made where they are missing. */
  lowers(layers: readonly Layer[], signal?: AbortSignal): Promise<readonly string[]>;
  /** A fresh writable layer, gone when disposed. */
  scratch(): Promise<AsyncDisposable & { readonly upper: string; readonly work: string }>;
  /** The root that the layers make, from their tables of contents. */
  tree(layers: readonly Layer[], signal: AbortSignal): Promise<MergedTree>;
  /** Its passwd and group files. */
  accounts(layers: readonly Layer[], tree: MergedTree, signal: AbortSignal): Promise<Accounts>;
}

export interface ContainerRequest {
  /** Words after the image. */
  readonly args: readonly string[];
  readonly entrypoint?: string;
  /** `NAME=value`. */
  readonly env?: readonly string[];
  readonly cwd?: string;
  /** `name|uid[:group|gid]`. */
  readonly user?: string;
  readonly hostname?: string;
  readonly hosts?: RunSpec['hosts'];
  readonly network: RunSpec['network'];
  readonly mounts?: readonly SandboxMount[];
  readonly stdio: RunSpec['stdio'];
}

export const containerHostname = 'slipway';

/** Resolves with the command's end. RUN_ENGINE (exit code 125) when it could not even be tried: no command, unknown user. */
export async function runImage(
  parts: ContainerParts,
  image: Image,
  asked: ContainerRequest,
  options: RunOptions & { readonly signal: AbortSignal },
): Promise<RunResult> {
  const config = image.config.config ?? {};
  const args = containerCommand(config, asked);
  const tree = await parts.tree(image.layers, options.signal);
  const user = resolveUser(asked.user ?? config.User ?? '', await parts.accounts(image.layers, tree, options.signal));
  const hostname = asked.hostname ?? containerHostname;
  const lowers = await parts.lowers(image.layers, options.signal);
  await using scratch = await parts.scratch();
  const spec: RunSpec = {
    root: { kind: 'overlay', lowers, upper: scratch.upper, work: scratch.work },
    args,
    env: containerEnv(config.Env ?? [], asked.env ?? [], {
      hostname,
      terminal: asked.stdio.kind === 'terminal',
      home: user.home,
    }),
    cwd: asked.cwd ?? (config.WorkingDir || '/'),
    user,
    hostname,
    ...(asked.hosts && { hosts: asked.hosts }),
    network: asked.network,
    ...(asked.mounts && { mounts: asked.mounts }),
    stdio: asked.stdio,
  };
  return whyNoStart(spec, { tree, lowers }) ?? (await parts.sandbox.run(spec, options));
}
