// The default sandbox: `unshare`, `mount` and `setpriv` of util-linux and a shell, nothing else. Everything is mounted in a mount
// namespace of the command's own, so nothing is ever mounted on the machine and nothing can stay behind.
import { mkdtempSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { inspectMachine, type Machine, type SandboxOptions } from './machine.ts';
import { defaultHostname } from './network-files.ts';
import { runScript, type StartFailure } from './process.ts';
import { checkSpec, clearUp, furnish, revealingMounts, rootSource, withSubmounts } from './run-folder.ts';
import type { RunOptions, RunResult, RunSpec, Sandbox } from './sandbox.ts';
import { innerScript, launchWords, outerScript } from './script.ts';

export function utilLinuxSandbox(options: SandboxOptions = {}): Sandbox {
  let machine: Machine | undefined;
  return {
    name: 'util-linux',
    async run(spec, runOptions = {}) {
      machine ??= inspectMachine(options);
      return await run(machine, spec, runOptions);
    },
  };
}

async function run(machine: Machine, spec: RunSpec, { signal, started }: RunOptions): Promise<RunResult> {
  checkSpec(spec);
  const run = mkdtempSync(join(machine.scratch, 'slipway-run-'));
  try {
    furnish(run, machine, spec);
    symlinkSync(machine.tools.unshare, join(run, launcherName));
    const inner = innerScript({
      run,
      source: rootSource(run, machine, spec),
      rootless: machine.rootless,
      terminal: spec.stdio.kind === 'terminal',
      hostname: spec.hostname ?? defaultHostname,
      network: spec.network,
      cwd: spec.cwd,
      mounts: withSubmounts(spec.mounts ?? []),
      has: (path) => machine.has.has(path),
      isDirectory: (path) => machine.directories.has(path) || statSync(path).isDirectory(),
      pidMax: machine.pidMax,
      revealing: revealingMounts(),
    });
    const words = launchWords({
      args: spec.args,
      env: spec.env,
      cwd: spec.cwd,
      user: spec.user,
      tools: { env: machine.tools.env, setpriv: machine.tools.setpriv, launcher: join(run, launcherName) },
      dropped: machine.dropped,
    });
    const namespaces = ['--mount', '--pid', '--ipc', '--uts', ...(spec.network === 'none' ? ['--net'] : [])];
    const script = outerScript({
      become: [
        ...(spec.network === 'host' ? machine.enterNetwork : []),
        machine.tools.unshare,
        ...namespaces,
        '--propagation',
        'private',
        '--fork',
        '--kill-child',
        '--',
        'sh',
        '-c',
      ],
      expendable: machine.expendable,
      run,
      pipes: spec.stdio.kind === 'pipe' ? { stdin: spec.stdio.stdin !== undefined } : undefined,
      terminal: spec.stdio.kind === 'terminal' ? { script: machine.tool('script'), words: [inner, 'sh', ...words] } : undefined,
    });
    return await runScript({
      command: machine.tools.sh,
      args: ['-c', script, 'slipway', ...(spec.stdio.kind === 'pipe' ? [inner, ...words] : [])],
      // Nothing of this process's own environment reaches even the helpers.
      env: { PATH: machine.path, LC_ALL: 'C', LIBMOUNT_FORCE_MOUNT2: 'always' },
      run,
      stdio: spec.stdio,
      startFailure: { prefix: `${launcherName}: failed to execute `, read: (text) => explain(spec.args[0]!, text) },
      signal,
      started,
    });
  } finally {
    clearUp(run, machine, spec.root);
  }
}

/** What error messages of the last program of the chain begin with. */
const launcherName = 'slipway';

/**
 * What docker's runtime says, from the one line that `execvp` said. A command may say the same and end with 126 or 127; it is then taken
 * for one that did not start, which it did not want to be.
 */
export function explain(command: string, text: string): StartFailure | undefined {
  const start = `${launcherName}: failed to execute ${command}: `;
  if (!text.startsWith(start) || !/^[^\n]*\n$/.test(text.slice(start.length))) return undefined;
  const cause = text.slice(start.length, -1);
  if (cause !== 'No such file or directory') return { code: 126, message: `exec: "${command}": ${cause.toLowerCase()}` };
  const message = command.includes('/') ? `stat ${command}: no such file or directory` : 'executable file not found in $PATH';
  return { code: 127, message: `exec: "${command}": ${message}` };
}
