// Builds through the real command line and the real sandbox: a folder with a home in it, contexts, and an ordinary user made for the test.
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { type BaseImage, busyboxImage } from './base-images.ts';
import { attempt, type CommandOptions, type CommandResult, must } from './command.ts';
import { whyNoRoot } from './roots.ts';
import { scratch } from './scratch.ts';
import { slipwayCommand, slipwayMissing } from './slipway.ts';

/** Why builds cannot be tested here, or undefined. */
export const whyNoBuilds = async (): Promise<string | undefined> => whyNoRoot('busybox') ?? (await slipwayMissing());

/** Why there can be no ordinary user, or undefined; with CI set, missing tools are failures. */
export function whyNoUser(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root to make a user';
  if (process.env.CI || existsSync('/usr/bin/newuidmap')) return undefined;
  return 'needs newuidmap (Debian: apt-get install uidmap)';
}

export interface LabUser extends AsyncDisposable {
  readonly name: string;
  /** A folder of the user's own. */
  readonly path: string;
  slipway(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
}

export interface Lab extends AsyncDisposable {
  readonly path: string;
  readonly home: string;
  /** Makes a folder with these files in it; everyone may read it. Content `undefined` makes a folder. */
  context(name: string, files?: Readonly<Record<string, string | Uint8Array | undefined>>): Promise<string>;
  slipway(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /** `slipway build --progress plain`, of a context or of a Dockerfile alone. */
  build(dockerfile: string, args?: readonly string[], options?: CommandOptions): Promise<CommandResult>;
  /** The content of a file in an image; it must be there. */
  cat(image: string, path: string): Promise<string>;
  user(): Promise<LabUser>;
}

export async function buildLab(images: readonly BaseImage[] | undefined = undefined): Promise<Lab> {
  const folder = await scratch('slw-bld-', 1024 ** 3);
  const { path } = folder;
  await chmod(path, 0o755);
  const home = join(path, 'home');
  const slipway = (args: readonly string[], options: CommandOptions = {}) =>
    attempt([slipwayCommand, ...args], {
      cwd: path,
      ...options,
      env: { SLIPWAY_HOME: home, SOURCE_DATE_EPOCH: undefined, BUILDKIT_PROGRESS: undefined, ...options.env },
    });
  const loads = images ?? [await busyboxImage()];
  for (const { archive } of loads) {
    const loaded = await slipway(['load', '-q', '-i', archive]);
    if (loaded.exitCode !== 0) throw new Error(loaded.stderr);
  }
  let count = 0;
  const lab: Lab = {
    path,
    home,
    slipway,
    async context(name, files = {}) {
      const at = join(path, name);
      await mkdir(at, { recursive: true });
      for (const [file, content] of Object.entries(files)) {
        await mkdir(dirname(join(at, file)), { recursive: true });
        if (content === undefined) await mkdir(join(at, file), { recursive: true });
        else await writeFile(join(at, file), content);
      }
      return at;
    },
    async build(dockerfile, args = [], options = {}) {
      const context = await lab.context(`context-${count++}`, { Dockerfile: dockerfile });
      return slipway(['build', '--progress', 'plain', ...args, context], options);
    },
    async cat(image, file) {
      const { exitCode, stdout, stderr } = await slipway(['run', '--rm', image, 'cat', file]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      return stdout;
    },
    user: () => makeUser(path, loads),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
  return lab;
}

async function makeUser(path: string, images: readonly BaseImage[]): Promise<LabUser> {
  // Another name each time: the user of a run that was killed is still there, and process ids come back.
  const name = `slwb${randomBytes(6).toString('hex')}`;
  await must(['useradd', '-m', name]);
  const own = join(path, 'user');
  await mkdir(own);
  await must(['chown', name, own]);
  const command = await readableCommand(name, path);
  const slipway = (args: readonly string[], options: CommandOptions = {}) =>
    attempt(['setpriv', `--reuid=${name}`, `--regid=${name}`, '--init-groups', '--', command, ...args], {
      cwd: own,
      ...options,
      env: { SLIPWAY_HOME: join(own, 'home'), HOME: `/home/${name}`, USER: name, SOURCE_DATE_EPOCH: undefined, ...options.env },
    });
  for (const { archive } of images) {
    // Whoever made the archive may have kept it to himself.
    const copy = join(own, 'base.tar');
    await must(['install', '-o', name, archive, copy]);
    const loaded = await slipway(['load', '-q', '-i', copy]);
    if (loaded.exitCode !== 0) throw new Error(loaded.stderr);
  }
  return { name, path: own, slipway, [Symbol.asyncDispose]: async () => void (await must(['userdel', '-r', '-f', name])) };
}

/** The command where the user can start it: a copy, if the source tree is closed to others. */
async function readableCommand(name: string, path: string): Promise<string> {
  const as = ['setpriv', `--reuid=${name}`, `--regid=${name}`, '--init-groups', '--'];
  if ((await attempt([...as, slipwayCommand, 'version'], { cwd: '/' })).exitCode === 0) return slipwayCommand;
  const root = join(dirname(slipwayCommand), '..');
  for (const part of ['dist', 'cli/slipway', 'node_modules/node/bin/node'])
    await cp(join(root, part), join(path, 'app', part), { recursive: true, dereference: true });
  await must(['chmod', '-R', 'a+rX', join(path, 'app')]);
  return join(path, 'app/cli/slipway');
}

/** Holds after every build, however it ended. */
export async function expectNothingLeft(home: string): Promise<void> {
  expect(await readdir(join(home, 'run')).catch(() => [])).toEqual([]);
  expect((await readdir(join(home, 'unpacked')).catch(() => [])).filter((name) => /^(new|old)-/.test(name))).toEqual([]);
  expect((await readdir(join(home, 'uploads')).catch(() => [])).filter((name) => name.startsWith('put-'))).toEqual([]);
  expect(processesWith(home)).toEqual([]);
  expect(await readFile('/proc/self/mountinfo', 'utf8')).not.toContain(home);
}

/** Processes whose command line or environment has the text. */
export function processesWith(text: string): readonly string[] {
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .filter((pid) => {
      try {
        const said = readFileSync(`/proc/${pid}/cmdline`, 'utf8') + readFileSync(`/proc/${pid}/environ`, 'utf8');
        return said.includes(text);
      } catch {
        // It has ended meanwhile.
        return false;
      }
    });
}

/** The last lines that a command said, below the progress: from the excerpt or the error on. */
export function complaint({ stderr }: CommandResult): string {
  const at = stderr.search(/^(Dockerfile:\d|Error:|Cancelled)/m);
  return at === -1 ? stderr : stderr.slice(at);
}
