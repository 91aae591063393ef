// Bundles the command line into dist/ with esbuild, for a quick start: one file in which every module is a function that runs when it is
// first imported. CommonJS, because Node's loader takes a millisecond for each ES module it links, built-in ones included, and a cached
// build is to take less than 100 in all. Worker entries (`*-worker.ts`) become files of their own beside it: a Worker starts from a file.
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';

const root = join(import.meta.dirname, '..');
const out = join(root, 'dist');

async function workers(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((e) => e.isFile() && e.name.endsWith('-worker.ts')).map((e) => join(e.parentPath, e.name));
}

await mkdir(out, { recursive: true });
// npm packs after this; what infra/pack.ts made for the package just before stays.
const packed = ['infra', 'functions', 'THIRD-PARTY-LICENSES.txt'];
for (const name of await readdir(out)) if (!packed.includes(name)) await rm(join(out, name), { recursive: true });
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
// Node's compile cache holds functions only as far as they were compiled when the file was loaded, and the others are compiled at each
// start. So the bundle comes with V8's cache as it is after a build of which one step was not cached. Another V8, or other flags, refuse it;
// then Node's cache has to do.
const load = `const{readFileSync}=require('node:fs'),vm=require('node:vm'),filename=require('node:path').join(__dirname,'slipway.js');
const source='(function(exports,require,module,__filename,__dirname){'+readFileSync(filename,'utf8')+'\\n})';
const importModuleDynamically=vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
function compile(cachedData){return new vm.Script(source,{filename,cachedData,importModuleDynamically});}
function run(script){script.runInThisContext()({},require,module,filename,__dirname);}
`;
const starting = `${load}let cached;
try{cached=compile(readFileSync(__dirname+'/slipway.cache'));}catch(error){if(error.code!=='ENOENT')throw error;}
if(cached!==undefined&&!cached.cachedDataRejected)run(cached);
else{require('node:module').enableCompileCache();require('./slipway.js');}
`;
// Only the largest is kept: outside root's account a build goes on in a second process.
const training = `${load}const script=compile();
process.on('exit',()=>{
const{statSync,writeFileSync}=require('node:fs'),file=__dirname+'/slipway.cache',data=script.createCachedData();
if(data.length>(statSync(file,{throwIfNoEntry:false})?.size??0))writeFileSync(file,data);
});
run(script);
`;
await writeFile(join(out, 'main.js'), starting);
await writeFile(join(out, 'train.js'), training);
const folder = await mkdtemp(join(tmpdir(), 'slipway-bundle-'));
try {
  await writeFile(join(folder, 'Dockerfile'), 'FROM scratch\nCOPY Dockerfile /app/\nENV A=1\nCOPY b* /b/\nCMD ["a"]\n');
  await writeFile(join(folder, 'b1'), 'b\n');
  const launcher = await readFile(join(root, 'cli/slipway'), 'utf8');
  const flags = /^flags='(.*)'$/m.exec(launcher)?.[1]?.split(' ');
  if (flags === undefined) throw new Error('cli/slipway does not say which flags it gives to Node');
  const [main, train] = [join(out, 'main.js'), join(out, 'train.js')];
  const run = async (script: string, ...args: string[]): Promise<void> => {
    await promisify(execFile)(process.execPath, [...flags, script, ...args], {
      env: { ...process.env, SLIPWAY_ENDPOINT: '', SLIPWAY_HOME: join(folder, 'home') },
    });
  };
  // The first fills the cache of the home. The second finds it, but for a file that has changed: what it compiles is kept.
  const words = ['build', '--progress', 'plain', '-t', 'bundle:1', folder];
  await run(main, ...words);
  await writeFile(join(folder, 'b2'), 'b\n');
  await run(train, ...words);
} finally {
  await rm(folder, { recursive: true });
  await rm(join(out, 'train.js'));
}
const size = Object.entries(result.metafile.outputs).find(([name]) => name.endsWith('/slipway.js'))?.[1].bytes ?? 0;
process.stdout.write(`dist/slipway.js ${Math.round(size / 1024)} KB, ${workerFiles.length} workers\n`);

// `npx slipway` from the root finds the command in node_modules/.bin, as it would in a project that depends on Slipway.
const bin = join(root, 'node_modules/.bin');
await mkdir(bin, { recursive: true });
await rm(join(bin, 'slipway'), { force: true });
await symlink('../../cli/slipway', join(bin, 'slipway'));
await chmod(join(root, 'cli/slipway'), 0o755);
