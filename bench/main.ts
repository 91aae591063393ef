// npm run bench -- [--fs ext4|tmpfs] [--network host|bridge] [--runs N] [--only slipway,buildkit] [--size GB] [--dir FOLDER] [S1 S4 ...]
//
// Runs the scenarios for Slipway and its peers in turn, round by round, on one file system, and prints medians, the ratio to the best peer
// and peak memory. Results go to bench/out/ as JSON. Needs root. See README.md.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Builder, BuilderName } from '../test/support/builder.ts';
import { attempt, must } from '../test/support/command.ts';
import { type MemorySampler, watchMemory } from '../test/support/rss.ts';
import { type Lab, openLab } from './lab.ts';
import { type Column, type Scenario, scenarios } from './scenarios.ts';
import { type Measured, markdown, type Row, ratioOf, rowOf, together } from './table.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    fs: { type: 'string', default: 'ext4' },
    runs: { type: 'string' },
    only: { type: 'string' },
    size: { type: 'string', default: '40' },
    network: { type: 'string', default: 'host' },
    dir: { type: 'string', default: tmpdir() },
  },
});

function fail(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

if (values.fs !== 'ext4' && values.fs !== 'tmpfs') fail(`--fs is ext4 or tmpfs, not ${values.fs}`);
if (values.network !== 'host' && values.network !== 'bridge') fail(`--network is host or bridge, not ${values.network}`);
if (process.getuid?.() !== 0) fail('The benchmark mounts a file system and runs daemons of its own: it needs root.');
const names: readonly BuilderName[] = ['slipway', 'classic', 'buildkit', 'buildah', 'podman'];
const only = values.only
  ?.split(',')
  .map((name) => names.find((known) => known === name) ?? fail(`--only knows ${names.join(', ')}, not ${name}`));
/** What a scenario is asked for by: S3c goes with S3. */
const groupOf = (scenario: Scenario) => scenario.id.split(' ')[0]!.replace(/c$/, '');
const unknown = positionals.filter((word) => !scenarios.some((scenario) => groupOf(scenario) === word));
if (unknown.length > 0) fail(`No scenario ${unknown.join(', ')}; there are ${[...new Set(scenarios.map(groupOf))].join(', ')}`);
const chosen = scenarios.filter((scenario) => positionals.length === 0 || positionals.includes(groupOf(scenario)));

const root = join(import.meta.dirname, '..');
const say = (text: string) => process.stderr.write(`${text}\n`);

/** skopeo has no store: it stands in the place of a builder in the rows that only move archives. */
const skopeo = { name: 'skopeo', daemons: () => [] } as unknown as Builder;

/** A command that takes longer than this hangs: milliseconds. */
const longest = 10 * 60_000;

async function once(
  lab: Lab,
  scenario: Scenario,
  builder: Builder,
  round: number,
  last: boolean,
): Promise<Partial<Measured> & { ms?: number }> {
  try {
    await scenario.prepare?.(lab, builder, round);
    // What preparations wrote must not be written back on a run's time.
    await must(['sync']);
    let sampler: MemorySampler | undefined;
    // Memory is watched in the last run alone, and a median of three or more is deaf to one run.
    const onStart = last ? (pid: number) => (sampler = watchMemory([pid, ...builder.daemons()], 20)) : () => undefined;
    try {
      const outcome = await scenario.run(lab, builder, { onStart, signal: AbortSignal.timeout(longest) });
      await scenario.check(lab, builder, outcome);
      return { ms: outcome.milliseconds, ...(sampler === undefined ? {} : { peak: sampler.peak() }) };
    } finally {
      sampler?.[Symbol.dispose]();
    }
  } catch (error) {
    return { failed: error instanceof Error ? error.message : String(error) };
  } finally {
    await scenario.cleanup?.(lab, builder);
  }
}

async function measure(lab: Lab, scenario: Scenario): Promise<Row> {
  const runs = values.runs === undefined ? scenario.runs : Number(values.runs);
  const taking = [...lab.builders, skopeo].filter((builder) => scenario.columns.includes(builder.name as Column));
  const results = new Map<Column, { milliseconds: number[]; peak?: NonNullable<Measured['peak']>; failed?: string }>();
  for (const builder of taking) results.set(builder.name, { milliseconds: [] });
  for (let round = 0; round < runs; round++) {
    await scenario.round?.(lab, round);
    for (const builder of taking) {
      const result = results.get(builder.name)!;
      if (result.failed !== undefined) continue;
      const run = await once(lab, scenario, builder, round, round === runs - 1);
      if (run.ms !== undefined) result.milliseconds.push(run.ms);
      if (run.peak !== undefined) result.peak = run.peak;
      if (run.failed !== undefined) {
        result.failed = run.failed;
        say(`${scenario.id}: ${builder.name} failed:\n${run.failed.split('\n').slice(0, 40).join('\n')}`);
      }
    }
  }
  return rowOf(scenario, Object.fromEntries(results));
}

async function versionOf(command: readonly string[]): Promise<string> {
  const result = await attempt(command).catch(() => undefined);
  return result === undefined || result.exitCode !== 0 ? 'absent' : (result.stdout.split('\n')[0] ?? '').trim();
}

await must([process.execPath, join(root, 'cli/bundle.ts')], { cwd: root });
const folder = await mkdtemp(join(values.dir, 'slw-'));
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());
const started = new Date();
const rows: Row[] = [];
const facts: Record<string, unknown> = { started: started.toISOString(), arguments: process.argv.slice(2) };
try {
  await using lab = await openLab({
    kind: values.fs,
    gigabytes: Number(values.size),
    folder,
    network: values.network,
    apt: chosen.some((scenario) => scenario.id === 'S6'),
    ...(only === undefined ? {} : { only }),
  });
  facts.machine = {
    processors: cpus().length,
    model: cpus()[0]?.model,
    memory: totalmem(),
    kernel: release(),
    filesystem: lab.filesystem.description,
    node: process.version,
    commit: await versionOf(['git', '-C', root, 'rev-parse', '--short', 'HEAD']),
    docker: await versionOf(['/usr/bin/docker', '--version']),
    buildah: await versionOf(['buildah', '--version']),
    podman: await versionOf(['podman', '--version']),
    skopeo: await versionOf(['skopeo', '--version']),
  };
  for (const [name, why] of lab.absent) say(`${name} takes no part: ${why}`);
  for (const scenario of chosen) {
    if (interrupted.signal.aborted) break;
    const row = await measure(lab, scenario);
    rows.push(row);
    say(markdown([row]).split('\n')[2]!);
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
const sums = [
  together(rows, 'S3 cold', 'P3', 'build and push', [0.2, 0.11]),
  together(rows, 'S4 cold', 'P4', 'build and push', [0.2, 0.1]),
].filter((row) => row !== undefined);
const all = [...rows, ...sums];
const out = join(import.meta.dirname, 'out');
await mkdir(out, { recursive: true });
const file = join(out, `${started.toISOString().replaceAll(':', '-')}.json`);
await writeFile(file, `${JSON.stringify({ ...facts, rows: all.map((row) => ({ ...row, ...ratioOf(row) })) }, null, 2)}\n`);
process.stdout.write(`${markdown(all)}\n\n${file}\n`);
const failed = all.flatMap((row) => Object.entries(row.columns).filter(([, measured]) => measured.failed !== undefined));
process.exitCode = failed.length > 0 || interrupted.signal.aborted ? 1 : 0;
