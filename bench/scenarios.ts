// The scenarios of the performance goals: what is prepared before the clock starts, what is timed, and how the result is checked, so that a
// command which fails is not taken for a fast one.
import { mkdirSync, writeFileSync } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Builder, BuilderName, BuildOutcome } from '../test/support/builder.ts';
import { attempt, type CommandOptions, must } from '../test/support/command.ts';
import * as contexts from './contexts.ts';
import type { Lab } from './lab.ts';
import { type Registry, startRegistry } from './registry.ts';

/** A column of the table. `skopeo` only moves images. */
export type Column = BuilderName | 'skopeo';

export interface Scenario {
  /** First word: what is asked for on the command line. */
  readonly id: string;
  readonly title: string;
  readonly runs: 3 | 5;
  readonly columns: readonly Column[];
  /** Goals of the performance page: our median / the best peer's. */
  readonly must: number;
  readonly excellent: number;
  /** Once before all builders of a round; not timed. */
  round?(lab: Lab, round: number): Promise<void> | void;
  /** Before each timed run; not timed. */
  prepare?(lab: Lab, builder: Builder, round: number): Promise<void>;
  run(lab: Lab, builder: Builder, options: CommandOptions): Promise<BuildOutcome>;
  /** Throws when the result is not what it should be. */
  check(lab: Lab, builder: Builder, outcome: BuildOutcome): Promise<void>;
  /** After each run, however it ended. */
  cleanup?(lab: Lab, builder: Builder): Promise<void>;
}

const builders: readonly Column[] = ['slipway', 'classic', 'buildkit', 'buildah', 'podman'];
/** Both builders of dockerd share its store and its push. */
const movers: readonly Column[] = ['slipway', 'classic', 'buildah', 'podman'];

const made = new Set<string>();

/** The folder of a context, made the first time it is needed. */
function context(lab: Lab, name: string, make: (folder: string) => void): string {
  const folder = join(lab.work, name);
  if (!made.has(folder)) {
    mkdirSync(folder, { recursive: true });
    make(folder);
    made.add(folder);
  }
  return folder;
}

const tag = (name: string) => `localhost/bench-${name}:latest`;

/** Whether a step was taken from the cache. A base that is present counts as CACHED in Slipway's output: that is no step. */
function usedCache(output: string): boolean {
  const bases = new Set([...output.matchAll(/^(#\d+) \[.*\] FROM /gm)].map((match) => match[1]));
  return output
    .split('\n')
    .some((line) => line.includes('Using cache') || (/^#\d+ CACHED/.test(line) && !bases.has(line.split(' ')[0])));
}

interface BuildScenario {
  readonly id: string;
  readonly title: string;
  readonly runs: 3 | 5;
  readonly context: string;
  readonly make: (folder: string) => void;
  /** cold: nothing cached; warm: all cached; changed: as `change` leaves it. */
  readonly state: 'cold' | 'warm' | 'changed';
  readonly change?: (folder: string, round: number) => void;
  /** Layers on top of the base, at least. */
  readonly layers: number;
  readonly must: number;
  readonly excellent: number;
}

function building(spec: BuildScenario): Scenario {
  const folder = (lab: Lab) => context(lab, spec.context, spec.make);
  const build = (lab: Lab, builder: Builder, options?: CommandOptions) =>
    builder.build({ context: folder(lab), tag: tag(spec.context), jobs: 4 }, options);
  return {
    ...spec,
    columns: builders,
    round: (lab, round) => {
      folder(lab);
      spec.change?.(folder(lab), round);
    },
    prepare: async (lab, builder, round) => {
      if (spec.state === 'cold') await lab.reset(builder);
      else if (round === 0) {
        // Whatever ran before, the cache must hold the state before the change.
        spec.change?.(folder(lab), -1);
        succeeded(await build(lab, builder));
        spec.change?.(folder(lab), round);
      }
    },
    run: build,
    check: async (_lab, builder, outcome) => {
      succeeded(outcome);
      const image = await builder.layers(tag(spec.context));
      const below = await builder.layers(spec.context === 's6' ? contexts.aptBase : contexts.base);
      if (image === undefined || below === undefined) throw new Error(`${builder.name}: no image ${tag(spec.context)}`);
      if (image < below + spec.layers)
        throw new Error(`${builder.name}: ${image} layers over a base of ${below}, ${spec.layers} more expected`);
      const hit = usedCache(outcome.output);
      if (spec.state === 'cold' && hit) throw new Error(`${builder.name}: a cold build used its cache\n${outcome.output}`);
      // A build of nothing but metadata has nothing to report as cached.
      if (spec.state === 'warm' && !hit) throw new Error(`${builder.name}: a warm build used no cache\n${outcome.output}`);
    },
  };
}

function succeeded(outcome: BuildOutcome): void {
  if (outcome.exitCode !== 0) throw new Error(`exit ${outcome.exitCode}\n${outcome.output}`);
}

async function ensure(lab: Lab, builder: Builder, name: string, make: (folder: string) => void): Promise<void> {
  if ((await builder.layers(tag(name))) === undefined)
    succeeded(await builder.build({ context: context(lab, name, make), tag: tag(name) }));
}

const registries = new Map<BuilderName, Registry>();

function pushing(
  id: string,
  title: string,
  runs: 3 | 5,
  name: string,
  make: (folder: string) => void,
  goals: [number, number],
): Scenario {
  const target = (builder: Builder) => `${registries.get(builder.name)!.host}/bench/${name}:latest`;
  return {
    ...{ id, title, runs, columns: movers, must: goals[0], excellent: goals[1] },
    prepare: async (lab, builder) => {
      await ensure(lab, builder, name, make);
      registries.set(builder.name, await startRegistry(join(lab.work, `registry-${builder.name}`)));
    },
    run: (_lab, builder, options) => builder.push(tag(name), target(builder), options),
    check: async (_lab, builder, outcome) => {
      succeeded(outcome);
      const copied = await attempt(['skopeo', 'inspect', '--tls-verify=false', '--raw', `docker://${target(builder)}`]);
      if (copied.exitCode !== 0) throw new Error(`${builder.name}: nothing at ${target(builder)}\n${copied.stderr}`);
      const { layers } = JSON.parse(copied.stdout) as { layers: unknown[] };
      if (layers.length !== (await builder.layers(tag(name))))
        throw new Error(`${builder.name}: the pushed image has ${layers.length} layers`);
    },
    cleanup: async (_lab, builder) => {
      await builder.remove(target(builder));
      await registries.get(builder.name)?.[Symbol.asyncDispose]();
      registries.delete(builder.name);
    },
  };
}

const archiveOf = (lab: Lab, builder: { readonly name: string }) => join(lab.work, `saved-${builder.name}.tar`);
const common = (lab: Lab) => join(lab.work, 'common.tar');
const gibibyte = 1024 ** 3;

/** One docker-archive of the 1 GiB image for everyone to load, made by a peer. */
async function commonArchive(lab: Lab): Promise<void> {
  if (made.has(common(lab))) return;
  const builder = lab.builders.find((one) => one.name !== 'slipway') ?? lab.builders[0]!;
  await ensure(lab, builder, 's4', contexts.largeFile);
  succeeded(await builder.save(tag('s4'), common(lab)));
  made.add(common(lab));
}

async function atLeast(file: string, bytes: number): Promise<void> {
  const { size } = await stat(file);
  if (size < bytes) throw new Error(`${file} has only ${size} bytes`);
}

const saving: Scenario = {
  ...{ id: 'V1', title: 'save the 1 GiB image', runs: 3, columns: movers, must: 0.4, excellent: 0.2 },
  prepare: async (lab, builder) => {
    await ensure(lab, builder, 's4', contexts.largeFile);
    await rm(archiveOf(lab, builder), { force: true });
  },
  run: (lab, builder, options) => builder.save(tag('s4'), archiveOf(lab, builder), options),
  check: async (lab, builder, outcome) => {
    succeeded(outcome);
    await atLeast(archiveOf(lab, builder), gibibyte);
    await must(['skopeo', 'inspect', `docker-archive:${archiveOf(lab, builder)}`]);
  },
  cleanup: (lab, builder) => rm(archiveOf(lab, builder), { force: true }),
};

const loading: Scenario = {
  ...{ id: 'V2', title: 'load the 1 GiB image', runs: 3, columns: movers, must: 0.5, excellent: 0.25 },
  round: commonArchive,
  prepare: (lab, builder) => lab.reset(builder),
  run: (lab, builder, options) => builder.load(common(lab), options),
  check: async (_lab, builder, outcome) => {
    succeeded(outcome);
    if ((await builder.layers(tag('s4'))) === undefined) throw new Error(`${builder.name}: ${tag('s4')} was not loaded`);
  },
};

const layout = (lab: Lab) => join(lab.work, 'layout');

/** skopeo between an OCI layout and a docker-archive, against our save and load, which do the same to our store. */
const archiving: Scenario[] = [
  {
    ...{ id: 'V3', title: 'docker-archive written (skopeo from a layout; ours: save)', runs: 3, must: 0.8, excellent: 0.5 },
    columns: ['slipway', 'skopeo'],
    prepare: async (lab, builder) => {
      if (builder.name === 'slipway') await saving.prepare?.(lab, builder, 0);
      else {
        await commonArchive(lab);
        if (!made.has(layout(lab)))
          await must(['skopeo', '--insecure-policy', 'copy', '-q', `docker-archive:${common(lab)}`, `oci:${layout(lab)}:s4`]);
        made.add(layout(lab));
        await rm(join(lab.work, 'skopeo.tar'), { force: true });
      }
    },
    run: (lab, builder, options) =>
      builder.name === 'slipway'
        ? saving.run(lab, builder, options)
        : skopeo(`oci:${layout(lab)}:s4`, `docker-archive:${join(lab.work, 'skopeo.tar')}`, options),
    check: async (lab, builder, outcome) => {
      succeeded(outcome);
      await atLeast(builder.name === 'slipway' ? archiveOf(lab, builder) : join(lab.work, 'skopeo.tar'), gibibyte);
    },
    cleanup: async (lab, builder) => {
      await rm(archiveOf(lab, builder), { force: true });
      await rm(join(lab.work, 'skopeo.tar'), { force: true });
    },
  },
  {
    ...{ id: 'V4', title: 'docker-archive read (skopeo into a layout; ours: load)', runs: 3, must: 0.8, excellent: 0.5 },
    columns: ['slipway', 'skopeo'],
    round: commonArchive,
    prepare: async (lab, builder) => {
      if (builder.name === 'slipway') await lab.reset(builder);
      else await rm(join(lab.work, 'layout-2'), { recursive: true, force: true });
    },
    run: (lab, builder, options) =>
      builder.name === 'slipway'
        ? loading.run(lab, builder, options)
        : skopeo(`docker-archive:${common(lab)}`, `oci:${join(lab.work, 'layout-2')}:s4`, options),
    check: async (lab, builder, outcome) => {
      if (builder.name === 'slipway') await loading.check(lab, builder, outcome);
      else succeeded(outcome);
    },
    cleanup: (lab) => rm(join(lab.work, 'layout-2'), { recursive: true, force: true }),
  },
];

async function skopeo(from: string, to: string, options: CommandOptions): Promise<BuildOutcome> {
  const result = await attempt(['skopeo', '--insecure-policy', 'copy', '-q', from, to], options);
  return { exitCode: result.exitCode, output: result.stdout + result.stderr, milliseconds: result.milliseconds };
}

const s1 = { context: 's1', make: contexts.smallApp, layers: 3 } as const;
const s3 = { context: 's3', make: contexts.manyFiles, layers: 1, runs: 3 } as const;
const s4 = { context: 's4', make: contexts.largeFile, layers: 1, runs: 3 } as const;
const change = (file: string) => (folder: string, round: number) =>
  writeFileSync(join(folder, file), `console.log("change ${round} of ${process.pid}");\n`);

export const scenarios: readonly Scenario[] = [
  building({ ...s1, id: 'S1 cold', title: 'small app, nothing cached', runs: 5, state: 'cold', must: 0.8, excellent: 0.4 }),
  building({ ...s1, id: 'S1 warm', title: 'small app, all cached', runs: 5, state: 'warm', must: 1, excellent: 0.7 }),
  building({
    ...s1,
    id: 'S2',
    title: 'small app, one source file changed',
    runs: 5,
    state: 'changed',
    change: change('src/main.js'),
    must: 0.9,
    excellent: 0.65,
  }),
  pushing('P1', 'push of S1 to an empty registry', 5, 's1', contexts.smallApp, [0.3, 0.15]),
  building({ ...s3, id: 'S3 cold', title: '30,000 files, nothing cached', state: 'cold', must: 0.3, excellent: 0.16 }),
  building({ ...s3, id: 'S3 warm', title: '30,000 files, all cached', state: 'warm', must: 0.6, excellent: 0.3 }),
  building({
    ...s3,
    id: 'S3c',
    title: '30,000 files, one changed',
    state: 'changed',
    change: change('files/d000/f000'),
    must: 0.3,
    excellent: 0.08,
  }),
  pushing('P3', 'push of S3 to an empty registry', 3, 's3', contexts.manyFiles, [0.3, 0.15]),
  building({ ...s4, id: 'S4 cold', title: '1 GiB file, nothing cached', state: 'cold', must: 0.3, excellent: 0.15 }),
  building({ ...s4, id: 'S4 warm', title: '1 GiB file, all cached', state: 'warm', must: 1.1, excellent: 0.8 }),
  pushing('P4', 'push of S4 to an empty registry', 3, 's4', contexts.largeFile, [0.3, 0.15]),
  building({
    id: 'S5',
    title: 'ten RUN steps',
    context: 's5',
    make: contexts.tenRuns,
    layers: 10,
    runs: 5,
    state: 'cold',
    must: 0.5,
    excellent: 0.25,
  }),
  building({
    id: 'S6',
    title: 'apt-get install jq',
    context: 's6',
    make: contexts.installPackage,
    layers: 1,
    runs: 5,
    state: 'cold',
    must: 1,
    excellent: 0.85,
  }),
  building({
    id: 'S7',
    title: 'four independent stages',
    context: 's7',
    make: contexts.fourStages,
    layers: 4,
    runs: 5,
    state: 'cold',
    must: 0.9,
    excellent: 0.78,
  }),
  building({
    id: 'S8',
    title: 'ENV, LABEL, CMD',
    context: 's8',
    make: contexts.configOnly,
    layers: 0,
    runs: 5,
    state: 'cold',
    must: 1,
    excellent: 0.75,
  }),
  building({
    id: 'S9',
    title: 'RUN true',
    context: 's9',
    make: contexts.runTrue,
    // The classic builder makes no layer of a RUN that changes nothing.
    layers: 0,
    runs: 5,
    state: 'cold',
    must: 0.6,
    excellent: 0.35,
  }),
  saving,
  loading,
  ...archiving,
];
