// The whole suite, as `npm test` and CI run it: types, lint, then every test project. The last line counts tests.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const bin = (name: string) => join(root, 'node_modules/.bin', name);
const env = { ...process.env, PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}` };

function run(title: string, command: string, args: readonly string[]): boolean {
  console.log(`\n== ${title}`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env });
  if (error) console.log(`${command}: ${error.message}`);
  return status === 0;
}

/** What is not shown as it comes is answered, for later. No report: it ended before it wrote one. */
async function tests(
  args: readonly string[],
  file: string,
  shown: boolean,
): Promise<{ ok: boolean; report: Report | undefined; output: string }> {
  if (shown) console.log('\n== tests');
  const words = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`, ...args];
  const child = spawn(bin('vitest'), words, {
    cwd: root,
    env,
    stdio: ['ignore', shown ? 'inherit' : 'pipe', shown ? 'inherit' : 'pipe'],
  });
  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => output.push(chunk));
  const ended = await new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(String(code ?? signal)));
  });
  const report = reportOf(file);
  if (report === undefined) {
    const why = `vitest ended without a report: ${ended}`;
    if (shown) console.log(why);
    else output.push(Buffer.from(`${why}\n`));
  }
  return { ok: ended === '0', report, output: Buffer.concat(output).toString() };
}

function reportOf(file: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Report;
  } catch {
    // Killed before it wrote it, or while it did; who asks counts that as a failure.
    return undefined;
  }
}

interface Report {
  readonly success: boolean;
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly numFailedTestSuites: number;
}

const waiting = ['account', 'runners', 'infra'];

const out = mkdtempSync(join(tmpdir(), 'slipway-test-'));
let failed = 0;
let passed = 0;
let skipped = 0;
try {
  // Each of these counts as one test: a type error is a failure as much as a wrong answer.
  for (const [title, command, args] of [
    ['types', bin('tsc'), ['--noEmit']],
    ['lint', bin('biome'), ['check', '--error-on-warnings', '.']],
    ['bundle', process.execPath, ['cli/bundle.ts']],
  ] as const) {
    if (run(title, command, args)) passed += 1;
    else failed += 1;
  }
  // Tests of the stack and of runners mostly wait for other processes: the others run meanwhile. With arguments, what they name.
  const given = process.argv.slice(2);
  const parts =
    given.length > 0 ? [given] : [waiting.map((name) => `--project=${name}`), waiting.map((name) => `--project=!${name}`)];
  const runs = await Promise.all(
    parts.map(async (args, index) => tests(args, join(out, `report-${index}.json`), index > 0 || parts.length === 1)),
  );
  for (const { ok, report, output } of runs) {
    if (output !== '') process.stdout.write(`\n== tests of the stack and of runners\n${output}`);
    if (report === undefined) {
      failed += 1;
      continue;
    }
    passed += report.numPassedTests;
    failed += report.numFailedTests;
    skipped += report.numPendingTests + report.numTodoTests;
    // A file that could not be loaded, or an error outside any test, fails the run without failing a test.
    if (!ok && report.numFailedTests === 0) failed += Math.max(1, report.numFailedTestSuites);
  }
} catch (error) {
  console.error(error);
  failed += 1;
} finally {
  rmSync(out, { recursive: true, force: true });
}
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed > 0 || passed <= 3 ? 1 : 0;
