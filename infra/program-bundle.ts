// Bundles a program that starts threads: their entries (`*-worker.ts`) become files beside it, as in cli/bundle.ts. NodejsFunction makes
// one file only. The CDK says where to and keeps what comes out with its other assets, so nothing is left behind; and it bundles nothing
// where a stack is only looked at.
import { cpSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { AssetHashType, DockerImage } from 'aws-cdk-lib';
import type { AssetOptions } from 'aws-cdk-lib/aws-s3-assets';
import { buildSync } from 'esbuild';

const root = join(import.meta.dirname, '..');

export interface ProgramAsset {
  readonly path: string;
  readonly options: AssetOptions;
}

/** `folder`: in functions/. The asset has handler.js in it, and what `also` names of that folder (a Dockerfile). */
export function programAsset(folder: string, also: readonly string[] = []): ProgramAsset {
  return {
    path: join(root, 'functions', folder),
    options: {
      assetHashType: AssetHashType.OUTPUT,
      bundling: {
        // Never used: the CDK asks for one all the same.
        image: DockerImage.fromRegistry('none'),
        local: {
          tryBundle(out) {
            bundleProgram(folder, out, also);
            return true;
          },
        },
      },
    },
  };
}

/** Writes handler.js, its threads and a package.json into `out`. Answers esbuild's account of what went into handler.js, in bytes by file. */
export function bundleProgram(folder: string, out: string, also: readonly string[] = []): ReadonlyMap<string, number> {
  const workers = readdirSync(join(root, 'shared'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('-worker.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
  const { metafile } = buildSync({
    absWorkingDir: root,
    entryPoints: {
      handler: join(root, 'functions', folder, 'handler.ts'),
      ...Object.fromEntries(workers.map((file) => [basename(file, '.ts'), file])),
    },
    outdir: out,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node24',
    minify: true,
    keepNames: true,
    mainFields: ['module', 'main'],
    define: { 'import.meta.url': '__moduleUrl' },
    banner: { js: 'const __moduleUrl=require("node:url").pathToFileURL(__filename).href;' },
    metafile: true,
    logLevel: 'warning',
  });
  writeFileSync(join(out, 'package.json'), '{"type":"commonjs"}\n');
  for (const name of also) cpSync(join(root, 'functions', folder, name), join(out, name));
  const made = Object.entries(metafile.outputs).find(([file]) => basename(file) === 'handler.js')?.[1];
  return new Map(Object.entries(made?.inputs ?? {}).map(([file, { bytesInOutput }]) => [file, bytesInOutput]));
}
