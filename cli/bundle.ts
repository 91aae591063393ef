// Bundles the command line into dist/ with esbuild, for a quick start: one file in which every module is a function that runs when it is
// first imported. CommonJS, because Node's loader takes a millisecond for each ES module it links, built-in ones included, and a cached
// build is to take less than 100 in all. Worker entries (`*-worker.ts`) become files of their own beside it: a Worker starts from a file.
import { chmod, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { build } from 'esbuild';

const root = join(import.meta.dirname, '..');
const out = join(root, 'dist');

async function workers(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((e) => e.isFile() && e.name.endsWith('-worker.ts')).map((e) => join(e.parentPath, e.name));
}

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
const workerFiles = [...(await workers(join(root, 'shared'))), ...(await workers(join(root, 'local')))];
const result = await build({
  entryPoints: {
    slipway: join(root, 'cli/main.ts'),
    ...Object.fromEntries(workerFiles.map((file) => [basename(file, '.ts'), file])),
  },
  outdir: out,
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node24',
  minifyWhitespace: true,
  minifySyntax: true,
  metafile: true,
  define: { 'import.meta.url': '__moduleUrl' },
  banner: { js: 'const __moduleUrl=require("node:url").pathToFileURL(__filename).href;' },
  logLevel: 'warning',
});
// The package is of ES modules; this folder is not.
await writeFile(join(out, 'package.json'), '{"type":"commonjs"}\n');
// A file of its own, so that the large one is read from the compile cache.
await writeFile(join(out, 'main.js'), "require('node:module').enableCompileCache();\nrequire('./slipway.js');\n");
const size = Object.entries(result.metafile.outputs).find(([name]) => name.endsWith('/slipway.js'))?.[1].bytes ?? 0;
process.stdout.write(`dist/slipway.js ${Math.round(size / 1024)} KB, ${workerFiles.length} workers\n`);

// `npx slipway` from the root finds the command in node_modules/.bin, as it would in a project that depends on Slipway.
const bin = join(root, 'node_modules/.bin');
await mkdir(bin, { recursive: true });
await rm(join(bin, 'slipway'), { force: true });
await symlink('../../cli/slipway', join(bin, 'slipway'));
await chmod(join(root, 'cli/slipway'), 0o755);
