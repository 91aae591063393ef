// Slipway as its users start it: the bundled command with a home of its own.
import { access, copyFile, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Builder } from './builder.ts';
import { attempt, type CommandOptions, type CommandResult, must } from './command.ts';

export const slipwayCommand = join(import.meta.dirname, '../../cli/slipway');

/** Runs `cli/slipway` on a home. */
export function runSlipway(home: string, args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return attempt([slipwayCommand, ...args], { ...options, env: { SLIPWAY_HOME: home, ...options.env } });
}

/** The bundle must be there: `npm run build`. */
export async function slipwayMissing(): Promise<string | undefined> {
  return access(join(import.meta.dirname, '../../dist/main.js')).then(
    () => undefined,
    () => 'dist/main.js is missing: run `npm run build` first',
  );
}

export function slipwayBuilder(home: string): Builder {
  const run = async (args: readonly string[], options?: CommandOptions) => {
    const result = await runSlipway(home, args, options);
    return { exitCode: result.exitCode, output: result.stdout + result.stderr, milliseconds: result.milliseconds };
  };
  const checked = async (args: readonly string[]) => {
    const result = await run(args);
    if (result.exitCode !== 0) throw new Error(`exit ${result.exitCode}: slipway ${args.join(' ')}\n${result.output}`);
  };
  return {
    name: 'slipway',
    load: (archive, options) => run(['load', '-i', archive], options),
    build: (request, options) =>
      run(
        [
          ...['build', '--progress', 'plain'],
          ...(request.file === undefined ? [] : ['-f', request.file]),
          ...Object.entries(request.args ?? {}).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
          ...(request.target === undefined ? [] : ['--target', request.target]),
          ...(request.noCache ? ['--no-cache'] : []),
          ...['-t', request.tag, request.context],
        ],
        options,
      ),
    export: async (reference, folder) => {
      // The archive is an OCI layout, whose blobs are what skopeo's `dir:` has: no need to read and write all of them once more.
      const [archive, layout] = [`${folder}.tar`, `${folder}.oci`];
      await checked(['save', '-o', archive, reference]);
      await mkdir(layout);
      await must(['tar', '-C', layout, '-xf', archive]);
      await rename(join(layout, 'blobs/sha256'), folder);
      const { manifests } = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8')) as { manifests: { digest: string }[] };
      await copyFile(join(folder, (manifests[0]?.digest ?? '').slice('sha256:'.length)), join(folder, 'manifest.json'));
      for (const path of [archive, layout]) await rm(path, { recursive: true });
    },
    save: (reference, archive, options) => run(['save', '-o', archive, reference], options),
    push: async (reference, to, options) => {
      const tagged = await run(['tag', reference, to]);
      return tagged.exitCode === 0 ? run(['push', to], options) : tagged;
    },
    tag: (reference, as) => checked(['tag', reference, as]),
    layers: async (reference) => {
      const result = await runSlipway(home, ['inspect', reference]);
      if (result.exitCode !== 0) return undefined;
      const [image] = JSON.parse(result.stdout) as { RootFS: { Layers: string[] } }[];
      return image?.RootFS.Layers.length;
    },
    remove: (reference) => checked(['rm', reference]),
    clearCache: () => rm(join(home, 'cache'), { recursive: true, force: true }),
    daemons: () => [],
  };
}
