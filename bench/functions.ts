// npm run bench:functions: size and load time of each deployed function, bundled as the stack bundles it. A cold start is the load, on a
// CPU share that grows with the memory: quote the ratio, not the milliseconds.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { bundlingOptions } from '../infra/functions.ts';
import { bundleProgram } from '../infra/program-bundle.ts';

const root = join(import.meta.dirname, '..');
/** What infra/slipway.ts deploys, in the order a login and a pull meet them. */
const deployed = ['authorizer', 'token', 'registry', 'accounts'];
/** Then the functions of a build, which start threads. */
const building = ['api', 'jobs', 'plan', 'stage', 'finish', 'launch'];
const runs = 9;
/** Bytes that the functions of a pull may have. */
const limit = 1.5e6;
const limited = ['registry', 'authorizer'];
/** Packages that a pull has no use for: one of them in a function of a pull is a mistake. */
const foreign = /node_modules\/(zod|hono|xz-decompress|@aws-sdk\/client-(?!dynamodb|s3|secrets-manager)[^/]+)\//;

const environment = {
  AWS_REGION: 'us-east-1',
  SLIPWAY_TABLE: 'table',
  SLIPWAY_BUCKET: 'bucket',
  SLIPWAY_TOKEN_SECRET: 'secret',
  SLIPWAY_AUDIENCE: 'registry.example',
  SLIPWAY_MACHINE: 'arn:aws:states:us-east-1:123456789012:stateMachine:builds',
};

/** Milliseconds from before the first line of the bundle to its handler being there, what is loaded lazily at start included. */
function loadTime(file: string): number {
  const program = `const t=performance.now();const {handler}=require(${JSON.stringify(file)});if(typeof handler!=='function')throw 1;setImmediate(()=>process.stdout.write(String(performance.now()-t)))`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', program], {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
  });
  if (status !== 0) throw new Error(`${file} does not load: ${stderr}`);
  return Number(stdout);
}

/** One file, as NodejsFunction makes it. Answers bytes by source file. */
async function bundleOne(name: string, outfile: string): Promise<ReadonlyMap<string, number>> {
  const { metafile } = await build({
    entryPoints: [join(root, 'functions', name, 'handler.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    metafile: true,
    logLevel: 'error',
    format: bundlingOptions.format,
    target: bundlingOptions.target,
    minify: bundlingOptions.minify,
    mainFields: bundlingOptions.mainFields,
    keepNames: bundlingOptions.keepNames,
    external: bundlingOptions.externalModules,
  });
  const inputs = Object.values(metafile.outputs)[0]?.inputs ?? {};
  return new Map(Object.entries(inputs).map(([file, { bytesInOutput }]) => [file, bytesInOutput]));
}

const out = mkdtempSync(join(tmpdir(), 'slipway-functions-'));
let failed = false;
try {
  console.log('| function | bundle | load, median | largest parts |\n|---|---|---|---|');
  for (const name of [...deployed, ...building]) {
    const folder = join(out, name);
    const outfile = join(folder, 'handler.js');
    mkdirSync(folder);
    const inputs = building.includes(name) ? bundleProgram(name, folder) : await bundleOne(name, outfile);
    const { size } = statSync(outfile);
    const parts = new Map<string, number>();
    for (const [file, bytes] of inputs) {
      const part = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? 'slipway';
      parts.set(part, (parts.get(part) ?? 0) + bytes);
    }
    const largest = [...parts].sort((a, b) => b[1] - a[1]).slice(0, 4);
    const times = Array.from({ length: runs }, () => loadTime(outfile)).sort((a, b) => a - b);
    const shown = largest.map(([part, bytes]) => `${part} ${Math.round(bytes / 1024)} KB`).join(', ');
    console.log(`| ${name} | ${Math.round(size / 1024)} KB | ${times[runs >> 1]?.toFixed(0)} ms | ${shown} |`);
    const odd = [...inputs.keys()].filter((file) => foreign.test(file));
    if (limited.includes(name) && (size > limit || odd.length > 0)) {
      failed = true;
      console.error(`${name}: ${size} bytes of ${limit}${odd.length > 0 ? `, and it holds ${odd.join(', ')}` : ''}`);
    }
  }
} finally {
  rmSync(out, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;
