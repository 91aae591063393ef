// The whole suite, as `npm test` and CI run it: types, lint, then every test project. The last line counts tests.
import { spawnSync } from 'node:child_process';
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

interface Report {
  readonly success: boolean;
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly numFailedTestSuites: number;
}

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
  const file = join(out, 'report.json');
  const ok = run('tests', bin('vitest'), [
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${file}`,
    ...process.argv.slice(2),
  ]);
  const report = JSON.parse(readFileSync(file, 'utf8')) as Report;
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  skipped = report.numPendingTests + report.numTodoTests;
  // A file that could not be loaded, or an error outside any test, fails the run without failing a test.
  if (!ok && report.numFailedTests === 0) failed += Math.max(1, report.numFailedTestSuites);
} finally {
  rmSync(out, { recursive: true, force: true });
}
console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed > 0 || passed <= 3 ? 1 : 0;
