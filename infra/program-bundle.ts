// Bundles a program that starts threads: their entries (`*-worker.ts`) become files beside it, as in cli/bundle.ts. NodejsFunction makes
// one file only.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { buildSync } from 'esbuild';

const root = join(import.meta.dirname, '..');

/** Answers a folder with handler.js in it, and what `also` names of the program's folder (a Dockerfile). */
export function bundleProgram(folder: string, also: readonly string[] = []): string {
  const out = mkdtempSync(join(tmpdir(), 'slipway-bundle-'));
  const workers = readdirSync(join(root, 'shared'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('-worker.ts'))
    .map((entry) => join(entry.parentPath, entry.name));
  mkdirSync(out, { recursive: true });
  buildSync({
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
    logLevel: 'warning',
  });
  writeFileSync(join(out, 'package.json'), '{"type":"commonjs"}\n');
  for (const name of also) cpSync(join(root, 'functions', folder, name), join(out, name));
  return out;
}
