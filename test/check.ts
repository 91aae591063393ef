// `npm run check`: types and lint beside the tests that need no real client and no local AWS. One after the other they take a fifth longer.
import { spawn } from 'node:child_process';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const bin = (name: string) => join(root, 'node_modules/.bin', name);

/** Answers the exit code and, unless it is shown as it comes, the output. */
async function run(command: string, args: readonly string[], shown: boolean): Promise<{ code: number; output: string }> {
  const child = spawn(bin(command), args, { cwd: root, stdio: shown ? 'inherit' : ['ignore', 'pipe', 'pipe'] });
  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => output.push(chunk));
  const code = await new Promise<number>((resolve) => {
    child.once('error', (error) => {
      output.push(Buffer.from(`${error.message}\n`));
      resolve(1);
    });
    child.once('close', (status) => resolve(status ?? 1));
  });
  return { code, output: Buffer.concat(output).toString() };
}

const projects = ['unit', 'contract', 'golden'].map((name) => `--project=${name}`);
const [types, lint, tests] = await Promise.all([
  run('tsc', ['--noEmit', '--pretty'], false),
  run('biome', ['check', '--error-on-warnings', '.'], false),
  run('vitest', ['run', ...projects, ...process.argv.slice(2)], true),
]);
for (const [title, { code, output }] of [
  ['types', types],
  ['lint', lint],
] as const) {
  console.log(`${title}: ${code === 0 ? 'nothing found' : `\n${output}`}`);
}
process.exitCode = Math.max(types.code, lint.code, tests.code);
