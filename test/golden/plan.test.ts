// Golden plans. Each folder with a Dockerfile is a case: input.json (optional) has the build's arguments, bases.json (optional) the configs
// of the images it may ask for, expected.json the plan or the error. `UPDATE_GOLDEN=1` writes expected.json: read the diff.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type PlanInput, planBuild } from '../../shared/build/planner.ts';
import { SlipwayError, type SourceRange } from '../../shared/errors.ts';
import type { ImageConfig } from '../../shared/oci/config.ts';
import { sha256 } from '../../shared/oci/digest.ts';

const root = import.meta.dirname;
const cases = readdirSync(root).filter((name) => existsSync(join(root, name, 'Dockerfile')));

const readJson = (path: string): unknown => (existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : {});

/** `3:1-4:12`: shorter to read than the object. */
const place = ({ start, end }: SourceRange): string => `${start.line}:${start.column}-${end.line}:${end.column}`;

const brief = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (key, member) => (key === 'where' ? place(member) : member)));

async function outcome(folder: string): Promise<unknown> {
  const bases = readJson(join(folder, 'bases.json')) as Record<string, Partial<ImageConfig>>;
  const given = readJson(join(folder, 'input.json')) as Partial<PlanInput>;
  const text = readFileSync(join(folder, 'Dockerfile'), 'utf8');
  const asked: string[] = [];
  try {
    const plan = await planBuild(
      { buildArgs: {}, platform: { os: 'linux', architecture: 'amd64' }, ...given, dockerfile: { name: 'Dockerfile', text } },
      {
        resolveImage: async (name, platform) => {
          asked.push(name);
          const config = bases[name];
          if (config === undefined) throw new SlipwayError('NOT_FOUND', `${name}: not found`);
          const { os, architecture } = platform;
          return {
            name: `${name}@resolved`,
            digest: sha256(name),
            config: { os, architecture, rootfs: { type: 'layers', diff_ids: [sha256(`layer of ${name}`)] }, ...config },
          };
        },
      },
    );
    return brief({ asked: asked.sort(), ...plan });
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    const { code, message, where, hint } = error;
    return { error: { code, message, where: where && place(where), ...(hint !== undefined && { hint }) } };
  }
}

test.each(cases)('%s', async (name) => {
  const folder = join(root, name);
  const expected = join(folder, 'expected.json');
  const actual = await outcome(folder);
  if (process.env.UPDATE_GOLDEN) writeFileSync(expected, `${JSON.stringify(actual, null, 2)}\n`);
  expect(actual).toEqual(JSON.parse(readFileSync(expected, 'utf8')));
});

test('there are at least forty cases of each kind', () => {
  const failing = cases.filter((name) => 'error' in (readJson(join(root, name, 'expected.json')) as object));
  expect(failing.length).toBeGreaterThanOrEqual(40);
  expect(cases.length - failing.length).toBeGreaterThanOrEqual(40);
});
