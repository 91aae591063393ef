// The two shell scripts by which the util-linux driver sets a command's world up, and the tables they mount from. Pure: text in, text
// out. POSIX sh (dash, ash and bash run it), and as few processes as can be, because each costs about a millisecond.
//
// The outer script runs on the machine: it opens the output pipes, leaves a watchdog behind and becomes `unshare`. The inner script is
// process 1 of the new namespaces: it mounts, moves the root, and becomes the command. Docs: docs/security.md, "Sandbox".
import { SlipwayError } from '../errors.ts';
import { maskedPaths, readonlyPaths, shmBytes } from './docker-defaults.ts';
import type { RunUser, SandboxMount } from './sandbox.ts';

/** One word of a POSIX shell, whatever is in it. NUL cannot be in an argument at all. */
export const quote = (word: string): string =>
  /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

/**
 * Runs with: 3 the lifeline (end of file when Slipway is gone or gives up; a line when all is well), 4 what is reported to Slipway.
 * Arguments: the inner script, then the inner script's. `run` is the folder of this run. With `pipes`, the streams are named pipes made
 * in it (with stdin or without): Node's own pipes are sockets, through which `/dev/stdout` cannot be opened. Else the command gets a
 * new terminal, joined to the caller's by script(1): what is pushed into it (TIOCSTI) does not reach the caller's shell.
 */
export function outerScript(o: {
  /** What this becomes, up to the inner script. Process 1 of the command is to be its child. */
  readonly become: readonly string[];
  readonly run: string;
  readonly pipes: { readonly stdin: boolean } | undefined;
  /** A terminal of its own: where script(1) is, and what would be the arguments. With neither, the caller's streams are handed on. */
  readonly terminal: { readonly script: string; readonly words: readonly string[] } | undefined;
  /** When memory runs out, the kernel looks here first. */
  readonly expendable?: boolean;
}): string {
  const streams = !o.pipes
    ? ''
    : `mkfifo -m 0622 ${quote(o.run)}/stdout ${quote(o.run)}/stderr
${o.pipes.stdin ? `mkfifo -m 0644 ${quote(o.run)}/stdin\n` : ''}echo streams >&4
exec >${quote(o.run)}/stdout 5>${quote(o.run)}/stderr${o.pipes.stdin ? ` <${quote(o.run)}/stdin` : ''}
`;
  // The watchdog outlives everything: whatever kills Slipway closes the lifeline, and process 1 dies with all it started. A death
  // signal alone would not do: a set-user-ID program, or the command itself, can clear it. It is nobody's child
  // (script(1) waits for all), and deaf to what a terminal sends to everyone when it is closed.
  return `set -eu
umask 022
exec 5>&2 2>&4
(
  (
    trap '' HUP INT QUIT TERM
    read -r line <&3 && exit 0
    children=
    for list in /proc/$$/task/*/children; do
      read -r some <$list || :
      children="$children $some"
    done
${o.terminal ? grandchildren : ''}    killed=
    for child in $children; do kill -9 "$child" && killed=1; done
    [ -n "$killed" ] || kill -9 $$
    rm -rf ${quote(o.run)}
  ) </dev/null >/dev/null 2>&1 4>&- 5>&- &
)
${streams}${o.terminal ? '' : 'inner=$1\nshift\n'}ulimit -c 0
ulimit -S -n 65536 2>/dev/null || :
exec 3<&-
${o.expendable ? 'echo 1000 >/proc/$$/oom_score_adj\n' : ''}${o.terminal ? onTerminal(o.terminal.script, [...o.become, ...o.terminal.words]) : `exec ${o.become.map(quote).join(' ')} "$inner" sh "$@"`}
`;
}

// With a terminal, script(1) is between this process and `unshare`, whose child is the one to kill.
const grandchildren = `    parents=$children children=
    for parent in $parents; do
      read -r below </proc/$parent/task/$parent/children || :
      children="$children $below"
    done
`;

/** script(1) wants one line for a shell. In it 5 is the new terminal, where the command's messages go once it is set up. */
const onTerminal = (script: string, words: readonly string[]): string => {
  const line = `exec 5>&2 2>&4; exec ${words.map(quote).join(' ')}`;
  return `exec 2>&5 5>&-\nSHELL=/bin/sh exec ${quote(script)} -q -e -c ${quote(line)} /dev/null`;
};

/** `flags`: what the source's own mount has and a user namespace must not take off. */
export type MountWithFlags = SandboxMount & { readonly flags?: readonly string[] };

export interface InnerFacts {
  /** Folder of this run, a plain path: `root` (the mountpoint), `dev` (what /dev begins with) and the network files are in it. */
  readonly run: string;
  readonly source: /** The option names are relative to `from`. */
    | { readonly kind: 'overlay'; readonly from: string; readonly options: string }
    | { readonly kind: 'tree'; readonly path: string };
  /** No sysfs can be mounted: the machine's is bound. */
  readonly rootless: boolean;
  /** /dev/console is the terminal that is stdin. */
  readonly terminal: boolean;
  readonly hostname: string;
  readonly network: 'host' | 'none';
  readonly cwd: string;
  readonly mounts: readonly MountWithFlags[];
  /** Of `maskedPaths` and `readonlyPaths`, those this machine has. */
  readonly has: (path: string) => boolean;
  readonly isDirectory: (path: string) => boolean;
  /** Where the machine has proc and sysfs mounted: fields of fstab(5). */
  readonly revealing: readonly string[];
  /** Highest process number inside, which bounds a fork bomb; undefined where the kernel knows only one for the whole machine. */
  readonly pidMax: number | undefined;
}

// There is no device control group here and a container may make device nodes (CAP_MKNOD): so nothing it can write to lets one be
// opened (`nodev`), and the few of /dev are the machine's own, bound one by one.
export const deviceNames = ['null', 'zero', 'full', 'random', 'urandom', 'tty'] as const;

// Paths in a root are the image's, so they are hostile: a link /etc -> /etc must not lead to the machine's. `at` follows links inside
// the root, as chroot would, and what it answers has none; nothing else runs in the root yet, so it stays true.
const functions = `die() { echo "$*" >&2; exit 125; }
# What is wrong lies in the root, not in the machine.
amiss() { echo amiss >&2; die "$*"; }
at() {
  at= rest=$1 links=0
  while [ -n "$rest" ]; do
    name=\${rest%%/*}
    case $rest in */*) rest=\${rest#*/} ;; *) rest= ;; esac
    case $name in
      '' | .) ;;
      ..) at=\${at%/*} ;;
      *)
        if [ -L ".$at/$name" ]; then
          links=$((links + 1))
          [ $links -le 40 ] || amiss "too many symbolic links in $1"
          link=$(readlink ".$at/$name")
          case $link in /*) at= ;; esac
          rest=$link\${rest:+/$rest}
        else
          at=$at/$name
        fi ;;
    esac
  done
}
# As runc: what the kernel provides is not mounted wherever an image likes.
ordinary() {
  [ ! -L "./$1" ] || amiss "/$1 is a symbolic link in the root filesystem, it must be a directory"
  directory "$1" stub
}
directory() {
  at "$1"
  [ -d ".$at" ] || { dir= rest=\${at#/}
    while [ -n "$rest" ]; do
      dir=$dir/\${rest%%/*}
      case $rest in */*) rest=\${rest#*/} ;; *) rest= ;; esac
      [ -d ".$dir" ] || { [ ! -e ".$dir" ] || amiss "$dir is a file in the root filesystem, it must be a directory"; mkdir ".$dir"; $2 "$dir"; }
    done
  }
}
stub() { printf '%s\\0' "$1" >>"$run/made"; }
file() {
  at "$1"
  [ -e ".$at" ] || { wanted=$at; directory "\${wanted%/*}" stub; : >".$wanted"; stub "$wanted"; at=$wanted; }
  [ ! -d ".$at" ] || amiss "/\${1#/} is a directory in the root filesystem, it must be a file"
}
line() {
  case $at in *[[:space:]#\\\\]*) amiss "cannot mount on $at: blanks in its path" ;; esac
  printf '%s %s%s %s %s 0 0\\n' "$1" "$root" "$at" "$2" "$3" >>"$run/fstab"
}
`;

/**
 * Its arguments are what it becomes in the end: `launchWords`. 4 is the report: when all is set up it says `ready`, and whatever came
 * before is an error. 5 is the command's stderr.
 */
export function innerScript(f: InnerFacts): string {
  const lines: string[] = ['set -eu', 'umask 022', `run=${quote(f.run)} root=${quote(`${f.run}/root`)}`, functions];
  const say = (...more: string[]) => lines.push(...more);

  if (f.source.kind === 'overlay') {
    say(`cd ${quote(f.source.from)}`, `mount -n -i -t overlay -o ${quote(`nodev,${f.source.options}`)} overlay "$root"`);
  } else {
    say(`mount -n -i --bind -o nodev -- ${quote(f.source.path)} "$root"`);
  }
  say('echo root >&4', 'cd "$root"');
  say('ordinary proc; line proc proc nosuid,nodev,noexec');
  // Filled already, so that all that follows is one table and one process.
  say('ordinary dev; line "$run/dev" none bind,nosuid,nodev,noexec');
  say(`ordinary sys; ${f.rootless ? 'line /sys none rbind,ro,nosuid,nodev,noexec' : 'line sysfs sysfs nosuid,nodev,noexec,ro'}`);
  // A read-only mount of a device can be written to all the same, but root inside can then not change the machine's own node: its mode,
  // owner and times. In a user namespace nobody is its owner.
  const node = f.rootless ? 'bind' : 'bind,ro';
  for (const name of deviceNames) say(`at=/dev/${name}; line /dev/${name} none ${node}`);
  say(`at=/dev/pts; line devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620${f.rootless ? '' : ',gid=5'}`);
  say(`at=/dev/shm; line shm tmpfs nosuid,nodev,noexec,mode=1777,size=${shmBytes}`);
  say('at=/dev/mqueue; line mqueue mqueue nosuid,nodev,noexec');
  for (const name of ['resolv.conf', 'hosts', 'hostname']) say(`file etc/${name}; line "$run/${name}" none bind`);
  if (f.terminal) say('at=/dev/console; line "$(readlink /proc/self/fd/0)" none bind');
  for (const path of maskedPaths) {
    if (!f.has(path)) continue;
    say(`at=${path}; ${f.isDirectory(path) ? 'line tmpfs tmpfs ro,size=4k,mode=555' : `line /dev/null none ${node}`}`);
  }
  // The control groups that come along may be the user's own to write to.
  if (f.rootless && f.isDirectory('/sys/fs/cgroup')) say('at=/sys/fs/cgroup; line masked tmpfs ro,size=4k,mode=555');
  for (const path of readonlyPaths) if (f.has(path)) say(`at=${path}; line "$root${path}" none rbind,ro`);
  // Of the pid namespace of whoever writes, whichever /proc it is written to.
  if (f.pidMax !== undefined) say(`echo ${f.pidMax} >/proc/sys/kernel/pid_max`);
  say('mount -n -a -T "$run/fstab"');

  for (const mount of f.mounts) say(...extraMount(mount, f.isDirectory));
  if (f.network === 'none') {
    say(
      'ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null || busybox ip link set lo up || die "found no tool to bring lo up"',
    );
  }
  // The switch in /proc belongs to the machine's root; the system call, to the namespace's.
  if (f.rootless)
    say(`hostname ${quote(f.hostname)} || busybox hostname ${quote(f.hostname)} || die "found no tool to set the host name"`);
  else say(`echo ${quote(f.hostname)} >/proc/sys/kernel/hostname`);
  say(`directory ${quote(f.cwd)} :`);
  // The kernel lets a user namespace mount a fresh /proc, with everything writable that uid 0 may write, as long as it sees one that is
  // not masked; and the machine's is one, covered by the new root or not. So are they covered each by itself.
  say(': >"$run/fstab"');
  for (const path of f.revealing) say(`printf '%s %s tmpfs ro,size=4k 0 0\\n' masked ${quote(path)} >>"$run/fstab"`);
  say('mount -n -a -T "$run/fstab"');
  say('mount -n -i --move . /');
  say('echo ready >&4');
  say('exec 2>&5 5>&- 4>&-');
  say('exec "$@"');
  return `${lines.join('\n')}\n`;
}

export interface Launch {
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: RunUser;
  /** Absolute paths on the machine. `launcher` is `unshare` under the name that its error messages begin with. */
  readonly tools: { readonly env: string; readonly setpriv: string; readonly launcher: string };
  /** Numbers of the capabilities to take away for good. */
  readonly dropped: readonly number[];
}

/**
 * The last links of the chain, each of which becomes the next: the environment is replaced, capabilities and groups go, then the root
 * is changed (CAP_SYS_CHROOT is among those a container keeps), then the user, then the command is looked up in PATH inside.
 */
export function launchWords(l: Launch): string[] {
  const withheld = l.env.filter(isWithheld);
  const drop = l.dropped.map((n) => `-cap_${n}`).join(',');
  return [
    ...[l.tools.env, '-i', '--', ...l.env.filter((pair) => !isWithheld(pair))],
    ...[l.tools.setpriv, '--inh-caps', drop, '--bounding-set', drop],
    ...(l.user.groups.length === 0 ? ['--clear-groups'] : ['--groups', l.user.groups.join(',')]),
    ...['--regid', String(l.user.gid), '--'],
    ...[l.tools.launcher, '--root=.', `--wd=${l.cwd}`, '--setuid', String(l.user.uid), '--'],
    ...(withheld.length === 0 ? l.args : withShell(withheld, l.args)),
  ];
}

/**
 * Variables that the C library reads when a program starts (ld.so(8), "Secure-execution mode", and musl's). They come from the image,
 * and `setpriv` and `unshare` are still programs of the machine: with LD_PRELOAD they would load the image's code before it is shut in.
 */
export const isWithheld = (pair: string): boolean =>
  /^(LD_|GLIBC_|GCONV_|MALLOC_|MUSL_|NLSPATH=|LOCPATH=|LANGUAGE=|TZDIR=|TMPDIR=|GETCONF_DIR=|HOSTALIASES=|LOCALDOMAIN=|NIS_PATH=|RES_OPTIONS=|RESOLV_)/.test(
    pair,
  );

/** So they are set inside, by the image's own shell. */
function withShell(pairs: readonly string[], args: readonly string[]): string[] {
  const sets = pairs.map((pair) => {
    const [name] = pair.split('=', 1);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name!))
      throw new SlipwayError('SANDBOX', `the variable ${name} cannot be set: it is no shell name`);
    return `${name}=${quote(pair.slice(name!.length + 1))}`;
  });
  return ['/bin/sh', '-c', `export ${sets.join(' ')}; exec "$@"`, 'sh', ...args];
}

function extraMount(mount: MountWithFlags, isDirectory: (path: string) => boolean): string[] {
  if (mount.kind === 'tmpfs') {
    const options = [`mode=${(mount.mode ?? 0o1777).toString(8)}`, ...(mount.size === undefined ? [] : [`size=${mount.size}`])];
    return [`directory ${quote(mount.target)} stub`, `mount -n -i -t tmpfs -o nosuid,nodev,${options.join(',')} tmpfs ".$at"`];
  }
  return [
    `${isDirectory(mount.source) ? `directory ${quote(mount.target)} stub` : `file ${quote(mount.target)}`}`,
    `mount -n -i --bind -o ${['nodev', ...(mount.readonly ? ['ro'] : []), ...(mount.flags ?? [])].join(',')} -- ${quote(mount.source)} ".$at"`,
  ];
}
