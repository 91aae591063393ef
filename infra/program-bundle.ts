// The files that are deployed as a function. In a published package they lie ready (pack.ts made them): whoever uses the construct needs
// no esbuild. In a checkout they are bundled when the stack is synthesized; the CDK says where to and keeps what comes out with its other
// assets, so nothing is left behind; and it bundles nothing where a stack is only looked at.
//
// Threads start from files of their own: the worker entries (`*-worker.ts`) that a program names lie beside its handler.js.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';
import { AssetHashType, DockerImage } from 'aws-cdk-lib';
import type { AssetOptions } from 'aws-cdk-lib/aws-s3-assets';
import type { Metafile } from 'esbuild';

/** Of the checkout, or the folder of what was built for a package: functions/ is in both, beside the folder that this file is in. */
const root = join(import.meta.dirname, '..');

/** What goes with a program besides what it imports. */
const companions: Readonly<Record<string, readonly string[]>> = { runner: ['Dockerfile', 'install-node.sh'] };

export interface ProgramAsset {
  readonly path: string;
  readonly options: AssetOptions;
}

/** `folder`: in functions/. The asset has handler.js in it. SLIPWAY_PROGRAMS: where all of them lie bundled (for who deploys often). */
export function programAsset(folder: string): ProgramAsset {
  const path = join(process.env.SLIPWAY_PROGRAMS || join(root, 'functions'), folder);
  if (existsSync(join(path, 'handler.js'))) return { path, options: {} };
  if (!existsSync(join(path, 'handler.ts'))) throw new Error(`${path} holds no program: is the package whole?`);
  return {
    path,
    options: {
      assetHashType: AssetHashType.OUTPUT,
      bundling: {
        // Never used: the CDK asks for one all the same.
        image: DockerImage.fromRegistry('none'),
        local: {
          tryBundle(out) {
            bundleProgram(folder, out);
            return true;
          },
        },
      },
    },
  };
}

/** Folders of all programs of a checkout. */
export const programFolders = (): readonly string[] =>
  readdirSync(join(root, 'functions'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(root, 'functions', entry.name, 'handler.ts')))
    .map(({ name }) => name)
    .sort();

export interface Bundled {
  /** Bytes that each source file has in handler.js. */
  readonly files: ReadonlyMap<string, number>;
  /** Names of the thread entries beside it. */
  readonly workers: readonly string[];
  readonly metafile: Metafile;
}

/** Writes handler.js, its threads and a package.json into `out`. */
export function bundleProgram(folder: string, out: string): Bundled {
  const handler = join(root, 'functions', folder, 'handler.ts');
  const first = bundle({ handler }, out);
  const workers = workersOf(first);
  const metafile = workers.size === 0 ? first : bundle({ handler, ...Object.fromEntries(workers) }, out);
  writeFileSync(join(out, 'package.json'), '{"type":"commonjs"}\n');
  for (const name of companions[folder] ?? []) cpSync(join(root, 'functions', folder, name), join(out, name));
  const made = Object.entries(metafile.outputs).find(([file]) => basename(file) === 'handler.js')?.[1];
  const files = new Map(Object.entries(made?.inputs ?? {}).map(([file, { bytesInOutput }]) => [file, bytesInOutput]));
  return { files, workers: [...workers.keys()], metafile };
}

let zlib: string | undefined;

/** Of the Node that the package depends on; who bundles may run on another. */
function projectZlib(): string {
  zlib ??= execFileSync(join(root, 'node_modules/node/bin/node'), ['-p', 'process.versions.zlib'], { encoding: 'utf8' }).trim();
  return zlib;
}

function bundle(entryPoints: Record<string, string>, outdir: string): Metafile {
  // Found only when it is needed: a published package has it not.
  const { buildSync } = createRequire(import.meta.url)('esbuild') as typeof import('esbuild');
  return buildSync({
    absWorkingDir: root,
    entryPoints,
    outdir,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node24',
    minify: true,
    // Names of functions and classes show in logs.
    keepNames: true,
    // ES modules first: the SDK's are the ones that can be cut to what is used. It is taken along, so that what was tested is what runs.
    mainFields: ['module', 'main'],
    define: { 'import.meta.url': '__moduleUrl', SLIPWAY_ZLIB: JSON.stringify(projectZlib()) },
    banner: { js: 'const __moduleUrl=require("node:url").pathToFileURL(__filename).href;' },
    metafile: true,
    logLevel: 'warning',
  }).metafile;
}

/** The thread entries that files of the program name, by the name that they will have. */
function workersOf({ inputs }: Metafile): ReadonlyMap<string, string> {
  const named = new Set<string>();
  for (const file of Object.keys(inputs)) {
    if (file.startsWith('node_modules/')) continue;
    const text = readFileSync(join(root, file), 'utf8');
    for (const [, name] of text.matchAll(/['"]\.\/([a-z0-9-]+-worker)\.ts['"]/g)) named.add(name as string);
  }
  const entries = readdirSync(join(root, 'shared'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && named.has(basename(entry.name, '.ts')))
    .map((entry): [string, string] => [basename(entry.name, '.ts'), join(entry.parentPath, entry.name)]);
  if (entries.length !== named.size) throw new Error(`not all of ${[...named].join(', ')} are files of shared/`);
  return new Map(entries.sort());
}
