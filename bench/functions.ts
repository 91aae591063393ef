// npm run bench:functions: size and load time of each deployed function and of the runner, bundled as the stack bundles them. A cold start is the load, on a
// CPU share that grows with the memory: quote the ratio, not the milliseconds.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundleProgram, programFolders } from '../infra/program-bundle.ts';
import { complaints } from './function-limits.ts';

/** In the order a login and a pull meet them; the others follow. */
const first = ['authorizer', 'token', 'registry'];
/** A program of its own, not a function: it is no cold start. */
const others = ['runner', 'upload'];
const runs = 9;

const environment = {
  AWS_REGION: 'us-east-1',
  SLIPWAY_TABLE: 'table',
  SLIPWAY_BUCKET: 'bucket',
  SLIPWAY_COLLECT_AFTER_DAYS: '14',
  SLIPWAY_COLLECT_EVERY_DAYS: '1',
  SLIPWAY_KEEP_BUILDS_DAYS: '90',
  SLIPWAY_TOKEN_SECRET: 'secret',
  SLIPWAY_AUDIENCE: 'registry.example',
  SLIPWAY_URL: 'https://slipway.example',
  SLIPWAY_MACHINE: 'arn:aws:states:us-east-1:123456789012:stateMachine:builds',
};

/** From before the first line of the bundle to its handler being there, what is loaded lazily at start included. */
interface Load {
  /** Milliseconds of CPU: what a busy machine does not change much. */
  readonly cpu: number;
  /** Milliseconds by the clock. */
  readonly wall: number;
}

function loadTime(file: string): Load {
  const program = `const t=performance.now(),c=process.cpuUsage();const {handler}=require(${JSON.stringify(file)});if(typeof handler!=='function')throw 1;
setImmediate(()=>{const {user,system}=process.cpuUsage(c);process.stdout.write(JSON.stringify({cpu:(user+system)/1000,wall:performance.now()-t}))})`;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['-e', program], {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
  });
  if (status !== 0) throw new Error(`${file} does not load: ${stderr}`);
  return JSON.parse(stdout) as Load;
}

/** Milliseconds until a started program has said so. */
function untilSaid(
  command: string,
  args: readonly string[],
  word: string,
  env: Readonly<Record<string, string>>,
): Promise<number> {
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env.PATH, ...env } });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (!said.includes(word)) return;
      resolve(performance.now() - begun);
      child.kill('SIGKILL');
    });
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`${command} ended before it said ${word}: ${said}`)));
  });
}

const medianOf = async (measure: () => Promise<number>): Promise<string> => {
  const times: number[] = [];
  for (let run = 0; run < runs; run++) times.push(await measure());
  return `${times.sort((a, b) => a - b)[runs >> 1]?.toFixed(0)} ms`;
};

/** The program of runners: a process of its own. Its commands' network needs root; a namespace is all the machine that it needs. */
async function benchRunner(folder: string): Promise<void> {
  mkdirSync(folder);
  const { workers } = bundleProgram('runner', folder);
  const sizes = readdirSync(folder).map((name) => statSync(join(folder, name)).size);
  const zip = spawnSync('zip', ['-q', '-r', '-', '.'], { cwd: folder, maxBuffer: 64 << 20 });
  const zipped = zip.status === 0 ? kilobytes(zip.stdout.length) : 'needs zip';
  const start = await medianOf(() =>
    untilSaid(process.execPath, [join(folder, 'handler.js')], '"listening"', { SLIPWAY_RUNNER_PORT: '0' }),
  );
  const module = JSON.stringify(join(import.meta.dirname, '../shared/sandbox/run-network.ts'));
  // Its own start is not counted.
  const program = `import { openRunNetwork } from ${module};
    const begun = performance.now(); await openRunNetwork({ ownPorts: [9000] });
    console.log('opened ' + (performance.now() - begun)); process.exit();`;
  const open = async (): Promise<number> => {
    const { stdout, stderr } = spawnSync('unshare', ['--net', process.execPath, '--input-type=module', '-e', program]);
    const took = /opened ([\d.]+)/.exec(String(stdout))?.[1];
    if (took === undefined) throw new Error(String(stderr));
    return Number(took);
  };
  const network = process.getuid?.() === 0 ? await medianOf(open) : 'needs root';
  console.log(
    '\n| runner: all files | zip | threads | start to listening | network of commands opened and tried |\n|---|---|---|---|---|',
  );
  console.log(`| ${kilobytes(sizes.reduce((a, b) => a + b, 0))} | ${zipped} | ${workers.length} | ${start} | ${network} |`);
}

const median = (values: readonly number[]): string => (values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0).toFixed(0);

const kilobytes = (bytes: number): string => `${Math.round(bytes / 1024)} KB`;

const out = mkdtempSync(join(tmpdir(), 'slipway-functions-'));
let failed = false;
try {
  console.log('| function | bundle | load: CPU | by the clock | threads | largest parts |\n|---|---|---|---|---|---|');
  const rest = programFolders().filter((name) => !first.includes(name) && !others.includes(name));
  for (const name of [...first, ...rest]) {
    const folder = join(out, name);
    mkdirSync(folder);
    const { files, workers } = bundleProgram(name, folder);
    const outfile = join(folder, 'handler.js');
    const { size } = statSync(outfile);
    const parts = new Map<string, number>();
    for (const [file, bytes] of files) {
      const part = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? 'slipway';
      parts.set(part, (parts.get(part) ?? 0) + bytes);
    }
    const largest = [...parts].sort((a, b) => b[1] - a[1]).slice(0, 4);
    const loads = Array.from({ length: runs }, () => loadTime(outfile));
    const [cpu, wall] = [median(loads.map((load) => load.cpu)), median(loads.map((load) => load.wall))];
    const shown = largest.map(([part, bytes]) => `${part} ${kilobytes(bytes)}`).join(', ');
    console.log(`| ${name} | ${kilobytes(size)} | ${cpu} ms | ${wall} ms | ${workers.length || ''} | ${shown} |`);
    for (const complaint of complaints(name, size, files)) {
      failed = true;
      console.error(complaint);
    }
  }
  await benchRunner(join(out, 'runner'));
} finally {
  rmSync(out, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;
