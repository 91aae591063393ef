// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are substitutions of a Dockerfile
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type PlanInput, planBuild } from '../../shared/build/planner.ts';
import type { ResolveImage } from '../../shared/build/stage-graph.ts';
import { SlipwayError } from '../../shared/errors.ts';
import type { RuntimeConfig } from '../../shared/oci/config.ts';
import { sha256 } from '../../shared/oci/digest.ts';

const platform = { os: 'linux', architecture: 'amd64' };

const image =
  (config: RuntimeConfig = { Env: ['PATH=/bin'] }): ResolveImage =>
  async (name) => ({
    name,
    digest: sha256(name),
    config: { ...platform, config, rootfs: { type: 'layers', diff_ids: [] } },
  });

const plan = (text: string, extra: Partial<PlanInput> = {}, resolveImage = image()) =>
  planBuild({ dockerfile: { name: 'Dockerfile', text }, buildArgs: {}, platform, ...extra }, { resolveImage });

const soon = () => new Promise((resolve) => setImmediate(resolve));

describe('bases', () => {
  test('each image is asked for once, with the platform, and only when needed', async () => {
    const asked: unknown[] = [];
    const text = 'FROM unused\nFROM a AS x\nCOPY --from=b /1 /1\nFROM a\nCOPY --from=b /1 /1\nCOPY --from=x /2 /2\n';
    await plan(text, {}, async (name, wanted, where) => {
      asked.push([name, wanted, where.start.line]);
      return image()(name, wanted, where);
    });
    expect(asked).toEqual([
      ['a', platform, 4],
      ['b', platform, 5],
    ]);
  });

  test('independent images are looked up at the same time', async () => {
    let running = 0;
    let most = 0;
    const slow: ResolveImage = async (name, wanted, where) => {
      most = Math.max(most, ++running);
      await soon();
      running--;
      return image()(name, wanted, where);
    };
    await plan('FROM a AS a\nFROM b AS b\nFROM scratch\nCOPY --from=b / /\nCOPY --from=a / /\n', {}, slow);
    expect(most).toBe(2);
  });

  test("the resolver's error gets the place of the FROM and keeps its code; a place of its own is left alone", async () => {
    const own = { file: 'other', start: { line: 1, column: 1 }, end: { line: 1, column: 1 } };
    const fails =
      (facts: object): ResolveImage =>
      async () => {
        throw new SlipwayError('UPSTREAM', 'no route', facts);
      };
    await expect(plan('FROM scratch\nFROM  far', {}, fails({ hint: 'h' }))).rejects.toMatchObject({
      code: 'UPSTREAM',
      hint: 'h',
      where: { start: { line: 2, column: 7 }, end: { line: 2, column: 9 } },
    });
    await expect(plan('FROM far', {}, fails({ where: own }))).rejects.toMatchObject({ where: own });
  });

  test('of several failures the first in the file is reported', async () => {
    const fails: ResolveImage = async (name) => {
      if (name === 'a') await soon();
      throw new SlipwayError('NOT_FOUND', name);
    };
    const text = 'FROM a AS a\nFROM b AS b\nFROM scratch\nCOPY --from=b / /\nCOPY --from=a / /\n';
    await expect(plan(text, {}, fails)).rejects.toMatchObject({ message: 'a' });
  });

  test('a stage starts from its base: environment, directory, user, shell', async () => {
    const config = { Env: ['PATH=/p', 'E=1'], WorkingDir: '/w', User: 'u', Shell: ['/bin/zsh', '-c'], OnBuild: ['ENV O=1'] };
    const { stages, stageConfigs } = await plan('FROM a\nWORKDIR sub\nRUN x\nFROM 0\n', { target: '0' }, image(config));
    expect(stages[0]!.steps.at(-1)!.operation).toMatchObject({
      args: ['/bin/zsh', '-c', 'x'],
      env: ['PATH=/p', 'E=1', 'O=1'],
      cwd: '/w/sub',
      user: 'u',
    });
    const { OnBuild: _, ...rest } = config;
    expect(stageConfigs).toEqual({ 0: expect.objectContaining({ config: rest }) });
  });
});

describe('the plan', () => {
  const text = [
    'ARG V=1',
    'FROM a AS base',
    'ONBUILD RUN trigger',
    'ARG V',
    'ENV X=$V',
    'RUN <<EOF',
    '#!/bin/x',
    'EOF',
    'FROM base AS mid',
    'COPY --from=late /f /f',
    'FROM b AS late',
    'FROM mid',
    'COPY <<EOF /x',
    '$X',
    'EOF',
    'ADD https://example.com/x /y/',
  ].join('\n');

  test('is JSON and the same every time', async () => {
    const first = await plan(text, { labels: { b: '2', a: '1' } });
    const second = await plan(text, { labels: { a: '1', b: '2' } });
    expect(JSON.parse(JSON.stringify(first))).toEqual(first);
    expect(JSON.stringify(second)).toBe(JSON.stringify(first));
  });

  test('has every stage after all it needs', async () => {
    const { stages, target } = await plan(text);
    const done = new Set<number>();
    for (const { index, needs } of stages) {
      for (const need of needs) expect(done).toContain(need);
      done.add(index);
    }
    expect(target).toBe(3);
    expect([...done].sort()).toEqual([0, 1, 2, 3]);
  });

  test('an ARG named like a member of every object has no value', async () => {
    const { stages } = await plan('FROM a\nARG constructor\nARG __proto__\nLABEL l=[$constructor$toString]\n');
    expect(stages[0]!.steps.at(-1)!.createdBy).toBe('LABEL l=[]');
  });
});

describe('bounds', () => {
  const lines = (count: number, line: (i: number) => string): string =>
    Array.from({ length: count }, (_, i) => line(i)).join('\n');

  test('a long chain of stages overflows nothing', async () => {
    const chain = lines(5000, (i) => `FROM ${i === 0 ? 'scratch' : `s${i - 1}`} AS s${i}`);
    expect((await plan(chain)).stages).toHaveLength(5000);
  });

  test.each([
    [
      'a large environment in many RUNs',
      `FROM scratch\n${lines(1000, (i) => `ENV a${i}=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nRUN x`)}`,
    ],
    ['port ranges', `FROM scratch\n${lines(20, () => 'EXPOSE 0-65535')}`],
    [
      'triggers in many stages',
      `FROM scratch AS parent\n${lines(1000, () => 'ONBUILD ENV a=1')}\n${lines(100, (i) => `FROM parent AS c${i}`)}
FROM scratch\n${lines(100, (i) => `COPY --from=c${i} / /`)}`,
    ],
  ])('%s: TOO_LARGE, not out of memory', async (_, text) => {
    await expect(plan(text)).rejects.toMatchObject({ code: 'TOO_LARGE' });
  });
});

describe('law', () => {
  const keyword = fc.constantFrom(
    ...['RUN ', 'RUN --network=none ', 'CMD ', 'ENTRYPOINT ', 'LABEL a=', 'ENV a=', 'ENV a ', 'ARG a=', 'ARG a', 'EXPOSE '],
    ...['COPY a ', 'ADD ', 'VOLUME ', 'USER ', 'WORKDIR ', 'STOPSIGNAL ', 'SHELL ', 'HEALTHCHECK CMD ', 'ONBUILD ', 'FROM '],
    ...['ONBUILD RUN ', 'FROM x AS ', 'COPY --from=', 'MAINTAINER '],
  );
  const word = fc.constantFrom(
    ...['$a', '${a:-b}', '${a##*/}', '"x y"', "'q'", '\\', '"', '$', '${', '[', '["a"]', '80', '0', 'https://e/x', 'git@a:b'],
    ...[' ', '/d/', '..', '<<E', '--link '],
  );
  const line = fc.tuple(keyword, fc.array(word, { maxLength: 5 })).map(([head, tail]) => head + tail.join(''));

  test('any Dockerfile gives a plan or a SlipwayError with a place', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 6 }), fc.constantFrom('', '\nbody $a\nE\n'), async (body, tail) => {
        try {
          const { stages } = await plan(`FROM x AS a\n${body.join('\n')}${tail}`, { buildArgs: { a: 'v' } });
          for (const { steps } of stages) for (const { where } of steps) expect(where.start.line).toBeGreaterThan(0);
        } catch (error) {
          if (!(error instanceof SlipwayError)) throw error;
          expect(error.where?.start.line).toBeGreaterThan(0);
        }
      }),
      { numRuns: 1500 },
    );
  });
});
