// RUN: the only step that needs a root file system. The upper directory of its overlay is the change set; nothing is scanned but that.
import { chmodSync, lchownSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { whyNoStart } from '../container/start-check.ts';
import { accountsOf, type ResolvedUser, resolveUser } from '../container/user.ts';
import { isCode, SlipwayError } from '../errors.ts';
import type { MergedTree } from '../layer/merged.ts';
import { sha256 } from '../oci/digest.ts';
import type { RunSpec, SandboxMount } from '../sandbox/sandbox.ts';
import { readAccounts } from './accounts.ts';
import type { ReadAccounts } from './copy-owner.ts';
import type { Prepared, StepInput } from './executor.ts';
import { StepOutput } from './step-output.ts';

/** Milliseconds. */
const longRun = 300;

export function prepareRun({ operation, step, image, input, ports, stored }: StepInput<'run'>): Prepared {
  const files = operation.files ?? [];
  return {
    key: {
      kind: 'run',
      args: operation.args,
      env: operation.env,
      user: operation.user,
      cwd: operation.cwd,
      network: operation.network,
      ...(files.length === 0 ? {} : { files: files.map((file) => [file.name, sha256(file.content)] as const) }),
    },
    async make(report) {
      if (ports.roots === undefined) {
        throw new SlipwayError('SANDBOX_UNAVAILABLE', 'RUN cannot be executed here', {
          hint: 'a runner with a sandbox is needed for stages with RUN',
        });
      }
      const roots = await ports.roots();
      const { epoch } = input.plan;
      const { signal } = ports;
      const lowers = await roots.lowers(image.layers, signal);
      const tree = await ports.layers.tree(image.layers, ports.signal);
      checkFolder(operation.cwd, tree);
      const user = userOf(operation.user, await readAccounts(ports.layers, image.layers, tree, { signal, stored }));
      await using scratch = await roots.scratch();
      likeRoot(scratch.upper, tree);
      const mounts: SandboxMount[] = [];
      for (const [index, file] of files.entries()) {
        const source = join(scratch.files, String(index));
        await writeFile(source, file.content, { mode: 0o755 });
        mounts.push({ kind: 'bind', source, target: `/dev/pipes/${file.name}`, readonly: true });
      }
      const output = new StepOutput(report);
      const spec: RunSpec = {
        root: { kind: 'overlay', lowers, upper: scratch.upper, work: scratch.work },
        args: operation.args,
        env: withHome([...operation.env, ...operation.proxyEnv], user.home),
        cwd: operation.cwd,
        user,
        network: operation.network,
        hostname: 'slipway-build',
        mounts,
        stdio: {
          kind: 'pipe',
          onOutput: (stream, chunk) => output.write(stream, chunk),
        },
      };
      // A command that takes a while may leave much behind: what its layer will need starts while there is nothing else to do.
      const warming = setTimeout(() => ports.layers.warm?.(), longRun);
      const running = whyNoStart(spec, { tree, lowers }) ?? roots.sandbox.run(spec, { signal });
      const result = await Promise.resolve(running).finally(() => clearTimeout(warming));
      await output.end();
      if (result.exitCode !== 0) {
        const command = operation.args.join(' ');
        const why =
          result.notStarted === undefined
            ? `did not complete successfully: exit code: ${result.exitCode}`
            : `could not be started: ${result.notStarted}`;
        throw new SlipwayError('STEP_FAILED', `process "${command}" ${why}`, {
          where: step.where,
          details: { exitCode: result.exitCode, step: step.display },
          ...(result.hint === undefined ? {} : { hint: result.hint }),
        });
      }
      const entries = await roots.changes(scratch.upper, { signal, ...(epoch === undefined ? {} : { epoch }) });
      const made = await ports.layers.write(entries, undefined, { signal, ...(epoch === undefined ? {} : { epoch }) });
      try {
        await roots.adopt(made.layer.diffId, scratch.upper);
      } catch (error) {
        await Promise.allSettled([made.stored]);
        throw error;
      }
      return made;
    },
  };
}

/** Who the command runs as. A user or group that the image does not have fails this step, not the machine that runs it (F64). */
function userOf(spec: string, accounts: ReadAccounts): ResolvedUser {
  try {
    return resolveUser(spec, accountsOf(accounts));
  } catch (error) {
    if (!isCode(error, 'RUN_ENGINE')) throw error;
    throw new SlipwayError('STEP_FAILED', `USER ${spec}: ${error.message}`, {
      cause: error,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
  }
}

/** Missing directories are made, as docker does; anything else in their place is the Dockerfile's fault, not the machine's. */
function checkFolder(cwd: string, tree: MergedTree): void {
  let at = '';
  for (const part of tree.resolve(cwd).split('/')) {
    at = at === '' ? part : `${at}/${part}`;
    const there = tree.get(at);
    if (there === undefined) return;
    if (there.type === 'dir') continue;
    throw new SlipwayError('STEP_FAILED', `cannot run in the working directory ${cwd}: /${at} is not a directory`, {
      hint: 'Name another one with WORKDIR, or do not replace it before.',
    });
  }
}

/** As runc does: HOME from the image's passwd unless the image sets it. */
const withHome = (env: readonly string[], home: string): readonly string[] =>
  env.some((e) => e.startsWith('HOME=')) ? env : [...env, `HOME=${home}`];

/** An overlay shows the attributes of its upper directory as those of `/`. */
function likeRoot(upper: string, tree: MergedTree): void {
  const root = tree.get('');
  if (root === undefined) return;
  if (process.getuid?.() === 0) lchownSync(upper, root.uid, root.gid);
  chmodSync(upper, root.mode);
}
