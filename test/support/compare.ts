// Runs the comparison cases under test/e2e/compare/: one Dockerfile, several builders, trees and configs held against each other.
//
// A case is a folder: `context/` (static files, the Dockerfile among them), `make.sh` (makes in the context what git does not keep: odd
// modes, links, empty folders, archives) and `case.json` (see {@link CompareCase}).
import { cp, mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Builder, BuilderName, BuildOutcome } from './builder.ts';
import { must } from './command.ts';
import { type KnownDifference, knownDifferences } from './known-differences.ts';
import { compareImages, type Difference, type ImageSnapshot, snapshot } from './tree.ts';

export const casesFolder = join(import.meta.dirname, '../e2e/compare');

/** The members of case.json. */
export interface CompareCase {
  readonly name: string;
  /** What the case is there to show. */
  readonly about: string;
  /** Dockerfile in the context. */
  readonly file?: string;
  /** Dockerfile with the same meaning for builders too old for the syntax under test. */
  readonly peersFile?: string;
  /** `{server}` becomes the address of the test's file server. */
  readonly args?: Readonly<Record<string, string>>;
  readonly target?: string;
  /** Builders that cannot take part, with the reason. */
  readonly without?: Partial<Readonly<Record<BuilderName, string>>>;
  /** Dockerfiles that every builder must refuse; the case then has no `file`. Builders left out of one, with the reason. */
  readonly refused?: Readonly<Record<string, Partial<Readonly<Record<BuilderName, string>>>>>;
}

export async function compareCases(): Promise<CompareCase[]> {
  const folders = await readdir(casesFolder, { withFileTypes: true });
  const names = folders.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return Promise.all(
    names.sort().map(async (name) => {
      const text = await readFile(join(casesFolder, name, 'case.json'), 'utf8');
      return { ...(JSON.parse(text) as Omit<CompareCase, 'name'>), name };
    }),
  );
}

/** Makes the context of a case in a fresh folder. */
export async function makeContext(test: CompareCase, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  const source = join(casesFolder, test.name);
  // The modes that a checkout gives depend on the umask: make them those of the index.
  await cp(join(source, 'context'), to, { recursive: true, verbatimSymlinks: true });
  await must(['chmod', '-R', 'u=rwX,go=rX', to]);
  const names = await readdir(source);
  if (names.includes('make.sh')) await must(['sh', '-eu', join(source, 'make.sh')], { cwd: to });
}

export const imageOf = (test: CompareCase, builder: BuilderName): string => `localhost/compare-${test.name}-${builder}:latest`;

/** Builds one case with one builder. */
export function buildCase(
  test: CompareCase,
  builder: Builder,
  context: string,
  server: string,
  file: string | undefined = builder.name === 'slipway' ? test.file : (test.peersFile ?? test.file),
): Promise<BuildOutcome> {
  const args = Object.fromEntries(
    Object.entries(test.args ?? {}).map(([name, value]) => [name, value.replaceAll('{server}', server)]),
  );
  const request = {
    context,
    args,
    tag: imageOf(test, builder.name),
    once: true,
    ...(test.target === undefined ? {} : { target: test.target }),
  };
  return builder.build({ ...request, ...(file === undefined ? {} : { file: join(context, file) }) });
}

/** Builds a case that must succeed and reads the result. */
export async function buildAndRead(test: CompareCase, builder: Builder, context: string, server: string): Promise<ImageSnapshot> {
  const built = await buildCase(test, builder, context, server);
  if (built.exitCode !== 0) throw new Error(`${builder.name} failed on ${test.name} (exit ${built.exitCode}):\n${built.output}`);
  return snapshot(builder, imageOf(test, builder.name));
}

export interface Comparison {
  readonly unexpected: readonly Difference[];
  readonly known: readonly { readonly difference: Difference; readonly because: KnownDifference }[];
}

/** Holds two builders' results of one case against each other; differences in the table of known ones are told apart, never dropped. */
export function compare(name: string, left: [BuilderName, ImageSnapshot], right: [BuilderName, ImageSnapshot]): Comparison {
  const unexpected: Difference[] = [];
  const known: { difference: Difference; because: KnownDifference }[] = [];
  for (const difference of compareImages(left[1], right[1])) {
    const because = knownDifferences.find(
      (entry) =>
        (entry.case === undefined || entry.case === name) &&
        (entry.builders.includes(left[0]) || entry.builders.includes(right[0])) &&
        entry.subject.test(difference.subject) &&
        (entry.properties === undefined || entry.properties.includes(difference.property ?? '')),
    );
    if (because === undefined) unexpected.push(difference);
    else known.push({ difference, because });
  }
  return { unexpected, known };
}
