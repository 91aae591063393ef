// Whether the kernel would start a command: a file that is neither a program of this machine nor a script with an interpreter is refused
// as docker's runtimes refuse it. The tools that start a command in the sandbox would hand such a file to /bin/sh, as `execvp` of the C
// library does: what then works in a build fails everywhere else.
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { posix } from 'node:path';
import { errnoOf, isCode } from '../errors.ts';
import type { Located, MergedTree } from '../layer/merged.ts';
import type { RunResult, RunSpec } from '../sandbox/sandbox.ts';
import { fsPath } from '../tar/name.ts';

/** As much as the kernel looks at. */
const headBytes = 256;

/** ELF's e_machine. */
const machines: Readonly<Record<number, string>> = {
  3: '386',
  21: 'ppc64le',
  22: 's390x',
  40: 'arm',
  62: 'amd64',
  183: 'arm64',
  243: 'riscv64',
};
const runs: Partial<Record<NodeJS.Architecture, readonly string[]>> = { x64: ['amd64', '386'], arm64: ['arm64', 'arm'] };

export interface Root {
  readonly tree: Pick<MergedTree, 'resolve' | 'locate'>;
  /** The unpacked directories of the layers, bottom first. */
  readonly lowers: readonly string[];
  /** Default: this process's. */
  readonly arch?: NodeJS.Architecture;
  /** Whether the machine has interpreters for other formats (binfmt_misc). Default: looked up. */
  readonly otherFormats?: () => boolean;
}

/** What the end of the command would be, if it is certain that it cannot be started for what its file is; a missing one is not looked into. */
export function whyNoStart(asked: Pick<RunSpec, 'args' | 'env' | 'cwd' | 'mounts'>, root: Root): RunResult | undefined {
  const [command = ''] = asked.args;
  const file = find(command, asked, root);
  const head = file === undefined ? undefined : headOf(file, root.lowers);
  if (head === undefined) return undefined;
  if (head.subarray(0, 2).toString('latin1') === '#!') return withoutInterpreter(command, head, asked, root);
  const program = head.subarray(0, 4).toString('latin1') === '\x7fELF';
  const machine = program && head.length >= 20 ? machines[head.readUInt16LE(18)] : undefined;
  const own = runs[root.arch ?? process.arch];
  if (program && (machine === undefined || own === undefined || own.includes(machine))) return undefined;
  if ((root.otherFormats ?? hasOtherFormats)()) return undefined;
  return {
    exitCode: 126,
    notStarted: `exec: ${JSON.stringify(command)}: exec format error`,
    hint: program
      ? `It is a program for ${machine}, and this machine runs ${own?.join(' and ')}.`
      : `It is no program and has no first line such as #!/bin/sh: add one, or start it as ["sh", ${JSON.stringify(command)}].`,
  };
}

/** The file that is executed; nothing when the mounts decide, or when there is none. */
function find(command: string, { env, cwd, mounts = [] }: Parameters<typeof whyNoStart>[0], { tree }: Root): Located | undefined {
  const path = env.findLast((pair) => pair.startsWith('PATH='))?.slice('PATH='.length);
  const folders = command.includes('/') ? [''] : (path ?? '').split(':').map((folder) => folder || '.');
  for (const folder of path === undefined && !command.includes('/') ? [] : folders) {
    const at = resolved(tree, posix.resolve('/', cwd, folder, command));
    if (at === undefined) continue;
    if (mounts.some(({ target }) => `/${at}/`.startsWith(`${posix.resolve('/', target)}/`))) return undefined;
    const found = tree.locate(at);
    const { type, mode = 0 } = found?.entry ?? {};
    if ((type === 'file' || type === 'hardlink') && (mode & 0o111) !== 0) return found;
  }
  return undefined;
}

function resolved(tree: Root['tree'], path: string): string | undefined {
  try {
    return tree.resolve(path);
  } catch (error) {
    // Links in a circle lead to no file.
    if (isCode(error, 'STEP_FAILED')) return undefined;
    throw error;
  }
}

function headOf({ layer, path }: Located, lowers: readonly string[]): Buffer | undefined {
  const lower = lowers[layer];
  if (lower === undefined) return undefined;
  let file: number;
  try {
    file = openSync(fsPath(`${lower}/${path}`), 'r');
  } catch (error) {
    // A file that its owner alone may read, in a root that belongs to other ids: the kernel will see.
    if (errnoOf(error) === 'EACCES') return undefined;
    throw error;
  }
  try {
    const head = Buffer.alloc(headBytes);
    return head.subarray(0, readSync(file, head, 0, headBytes, 0));
  } finally {
    closeSync(file);
  }
}

function withoutInterpreter(
  command: string,
  head: Buffer,
  { mounts = [] }: Parameters<typeof whyNoStart>[0],
  { tree }: Root,
): RunResult | undefined {
  const line = head.toString('latin1').split('\n', 1)[0]!.slice(2);
  const interpreter = /^[ \t]*([^ \t]*)/.exec(line)?.[1] ?? '';
  const at = interpreter.startsWith('/') ? resolved(tree, interpreter) : undefined;
  if (at === undefined || tree.locate(at) !== undefined || /^(proc|dev|sys)(\/|$)/.test(at)) return undefined;
  if (mounts.some(({ target }) => `/${at}/`.startsWith(`${posix.resolve('/', target)}/`))) return undefined;
  return {
    exitCode: 127,
    notStarted: `exec: ${JSON.stringify(command)}: no such file or directory`,
    hint: interpreter.endsWith('\r')
      ? 'The lines of the script end with CR LF, so that it asks for an interpreter whose name ends with CR: keep it with LF (git: .gitattributes with eol=lf).'
      : `The script asks for the interpreter ${interpreter}, which the image does not have.`,
  };
}

function hasOtherFormats(): boolean {
  try {
    return readdirSync('/proc/sys/fs/binfmt_misc').some((name) => name !== 'register' && name !== 'status');
  } catch (error) {
    if (['ENOENT', 'EACCES', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}
