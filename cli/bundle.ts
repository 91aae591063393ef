// Bundles the command line into dist/ with esbuild: one small entry, one chunk per command, loaded only when that command is run.
// Worker entries (`*-worker.ts`) become files of their own beside it, because a Worker is started from a file.
import { chmod, mkdir, readdir, rm, symlink } from 'node:fs/promises';
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
const entries = [join(root, 'cli/main.ts'), ...(await workers(join(root, 'shared'))), ...(await workers(join(root, 'local')))];
const result = await build({
  entryPoints: Object.fromEntries(entries.map((file) => [basename(file, '.ts'), file])),
  outdir: out,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node24',
  minify: true,
  keepNames: true,
  sourcemap: false,
  chunkNames: 'chunk-[hash]',
  metafile: true,
  // A bundled CommonJS dependency may still call require().
  banner: { js: "import{createRequire as __cr}from'node:module';const require=__cr(import.meta.url);" },
  logLevel: 'warning',
});
const size = Object.entries(result.metafile.outputs).find(([name]) => name.endsWith('/main.js'))?.[1].bytes ?? 0;
process.stdout.write(`dist/main.js ${Math.round(size / 1024)} KB, ${Object.keys(result.metafile.outputs).length} files\n`);

// `npx slipway` from the root finds the command in node_modules/.bin, as it would in a project that depends on Slipway.
const bin = join(root, 'node_modules/.bin');
await mkdir(bin, { recursive: true });
await rm(join(bin, 'slipway'), { force: true });
await symlink('../../cli/slipway', join(bin, 'slipway'));
await chmod(join(root, 'cli/slipway'), 0o755);
