// Rootless: an ordinary user's Slipway starts itself once more inside a user namespace in which that user is root and a range of
// subordinate ids (subuid(5)) are everyone else. From there on nothing else knows the difference.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { constants as os, userInfo } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Writable } from 'node:stream';
import { errnoOf, SlipwayError } from '../errors.ts';

export interface IdRange {
  readonly start: number;
  readonly count: number;
}

export interface RootlessMachine {
  readonly uid: number;
  readonly gid: number;
  readonly user: string;
  /** Text of /etc/subuid and /etc/subgid; empty when absent. */
  readonly subuid: string;
  readonly subgid: string;
  /** Absolute path of a program, or undefined. */
  readonly which: (name: string) => string | undefined;
  /** Value of a switch below /proc/sys, or undefined where this kernel has none. */
  readonly sysctl: (name: string) => string | undefined;
}

export interface Problem {
  readonly what: string;
  readonly fix: string;
}

/** Fewer and most images cannot be unpacked: `nobody` is 65534. */
const enough = 65_536;

/** `NAME:START:COUNT` lines of subuid(5) that are this user's, by name or number. */
export function rangesOf(text: string, user: string, uid: number): IdRange[] {
  return text.split('\n').flatMap((line) => {
    const [who, start, count] = line.trim().split(':');
    if ((who !== user && who !== String(uid)) || !/^\d+$/.test(start ?? '') || !/^\d+$/.test(count ?? '')) return [];
    return [{ start: Number(start), count: Number(count) }];
  });
}

/** What is missing for this user; empty when commands can run rootless. */
export function rootlessProblems(m: RootlessMachine): Problem[] {
  const problems: Problem[] = [];
  const say = (what: string, fix: string) => problems.push({ what, fix });
  if (m.sysctl('user/max_user_namespaces') === '0')
    say('user namespaces are switched off', 'sysctl -w user.max_user_namespaces=15000');
  if (m.sysctl('kernel/unprivileged_userns_clone') === '0') {
    say('user namespaces are only for root', 'sysctl -w kernel.unprivileged_userns_clone=1');
  }
  if (m.sysctl('kernel/apparmor_restrict_unprivileged_userns') === '1') {
    say('AppArmor takes the rights out of user namespaces', 'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0');
  }
  for (const tool of ['newuidmap', 'newgidmap']) {
    if (!m.which(tool))
      say(`${tool} is not installed`, 'install uidmap (Debian, Ubuntu) or shadow-utils (Fedora) or shadow-uidmap (Alpine)');
  }
  for (const [file, text] of [
    ['/etc/subuid', m.subuid],
    ['/etc/subgid', m.subgid],
  ] as const) {
    const count = rangesOf(text, m.user, m.uid).reduce((sum, range) => sum + range.count, 0);
    // One id alone would do for images in which everything is root's; there are next to none.
    if (count < enough - 1) {
      say(
        `${file} gives ${m.user} ${count === 0 ? 'no subordinate ids' : `only ${count} subordinate ids`}, images need ${enough}`,
        `usermod --add-sub${file.slice(-3)}s 100000-165535 ${m.user} (as root; a range nobody else has)`,
      );
    }
  }
  return problems;
}

/** Arguments of newuidmap(1) after the process: 0 is the user, 1 and up the ranges one after the other. */
export function mapArguments(own: number, ranges: readonly IdRange[]): string[] {
  let next = 1;
  const words = ['0', String(own), '1'];
  for (const { start, count } of ranges) {
    words.push(String(next), String(start), String(count));
    next += count;
  }
  return words;
}

/** A number without a line in passwd has no name; `/etc/subuid` may name it by the number. */
function whoAmI(): { readonly username: string; readonly uid: number; readonly gid: number } {
  try {
    return userInfo();
  } catch {
    const [uid, gid] = [process.getuid?.() ?? -1, process.getgid?.() ?? -1];
    return { username: String(uid), uid, gid };
  }
}

export function thisMachine(env: Readonly<Record<string, string | undefined>>): RootlessMachine {
  const { username, uid, gid } = whoAmI();
  const folders = `${env.PATH ?? ''}${delimiter}/usr/sbin:/usr/bin:/sbin:/bin`
    .split(delimiter)
    .filter((folder) => folder.startsWith('/'));
  return {
    uid,
    gid,
    user: username,
    subuid: readIfThere('/etc/subuid') ?? '',
    subgid: readIfThere('/etc/subgid') ?? '',
    which: (name) => folders.map((folder) => join(folder, name)).find((path) => existsSync(path)),
    sysctl: (name) => readIfThere(`/proc/sys/${name}`)?.trim(),
  };
}

/**
 * For root, and inside the namespace already: undefined, go on. For an ordinary user: runs `command` (this program, with the same
 * arguments) in the namespace to its end with the same streams, and answers its exit code. To be called before the home is touched,
 * because what root unpacks there belongs to subordinate ids. SANDBOX_UNAVAILABLE when something is missing, with all of it.
 */
export async function enterUserNamespace(
  command: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<number | undefined> {
  if (process.getuid?.() === 0) return undefined;
  if (process.platform !== 'linux') throw new SlipwayError('SANDBOX_UNAVAILABLE', 'commands run only on Linux');
  const machine = thisMachine(env);
  const problems = rootlessProblems(machine);
  if (problems.length > 0) throw cannot(problems);
  const need = (name: string): string => {
    const path = machine.which(name);
    if (!path) throw cannot([{ what: `${name} is not installed`, fix: 'install util-linux' }]);
    return path;
  };
  const wait = 'read -r line <&3 && exec 3<&- && exec "$@"';
  const child = spawn(
    need('unshare'),
    [
      '--user',
      '--mount',
      '--',
      need('sh'),
      '-c',
      `echo in >&4; exec 4>&-; ${wait}`,
      'slipway',
      need('setpriv'),
      // Not a signal that could be handed on to a command that does not care: what this process is killed by ends the other as well, and
      // with it what it runs.
      '--pdeathsig',
      'KILL',
      '--',
      ...command,
    ],
    { stdio: ['inherit', 'inherit', 'inherit', 'pipe', 'pipe'], env: { ...env } },
  );
  // Signals are for the child, not for this process. Ctrl-C reaches it by itself as well, being of the same terminal; but `kill -INT`
  // has only this process for a target.
  const handlers = (['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT'] as const).map((signal) => {
    const handler = () => {
      if (signal !== 'SIGQUIT') child.kill(signal);
    };
    process.on(signal, handler);
    return () => process.off(signal, handler);
  });
  const gate = child.stdio[3] as Writable;
  // If the child is gone, its end is what is reported.
  gate.on('error', () => undefined);
  try {
    const ended = new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve(code ?? 128 + (signal ? os.signals[signal] : 0)));
    });
    const inside = new Promise<boolean>((resolve) => {
      const said = child.stdio[4];
      said?.once('data', () => resolve(true));
      said?.once('close', () => resolve(false));
    });
    if (!(await inside)) {
      throw cannot([{ what: `unshare ended with code ${await ended}`, fix: 'see its message above, and `slipway doctor`' }]);
    }
    const pid = String(child.pid);
    await Promise.all([
      helper(need('newuidmap'), [pid, ...mapArguments(machine.uid, rangesOf(machine.subuid, machine.user, machine.uid))]),
      helper(need('newgidmap'), [pid, ...mapArguments(machine.gid, rangesOf(machine.subgid, machine.user, machine.uid))]),
    ]);
    gate.end('go\n');
    return await ended;
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  } finally {
    for (const off of handlers) off();
  }
}

function helper(path: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(path, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (chunk) => {
      said += String(chunk);
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve();
      else
        reject(
          cannot([
            {
              what: `${path}: ${said.trim() || `exit code ${code}`}`,
              fix: 'check its set-user-ID bit and /etc/subuid, /etc/subgid',
            },
          ]),
        );
    });
  });
}

const cannot = (problems: readonly Problem[]): SlipwayError =>
  new SlipwayError('SANDBOX_UNAVAILABLE', `cannot work as an ordinary user: ${problems.map((p) => p.what).join('; ')}`, {
    hint: `Do this, or run as root: ${problems.map((p) => p.fix).join('; ')}.`,
    details: { problems },
  });

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'EACCES') return undefined;
    throw error;
  }
}
