// Size: many files, and files much larger than the memory a build may take.
import { mkdirSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxReference } from '../support/base-images.ts';
import { buildLab, expectNothingLeft, type Lab, whyNoBuilds } from '../support/build-lab.ts';
import { must } from '../support/command.ts';
import { type MemorySampler, watchMemory } from '../support/rss.ts';

const why = await whyNoBuilds();
const from = `FROM ${busyboxReference}\n`;
const size = 2 * 1024 ** 3;
const limit = 300 * 1024 ** 2;

describe.skipIf(why !== undefined && !process.env.CI)(`large builds${why ? ` (${why})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await buildLab();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  /** Builds under watch; fails when more memory is taken than allowed. */
  const modest = async (args: readonly string[]) => {
    let watch: MemorySampler | undefined;
    const result = await lab.slipway(['build', '--progress', 'plain', ...args], {
      onStart: (pid) => {
        watch = watchMemory([pid]);
      },
    });
    watch?.sample();
    watch?.[Symbol.dispose]();
    expect({ exitCode: result.exitCode, end: result.exitCode === 0 ? '' : result.stderr.slice(-2000) }).toEqual({
      exitCode: 0,
      end: '',
    });
    const peak = watch?.peak().largest ?? Number.POSITIVE_INFINITY;
    expect(peak).toBeLessThan(limit);
    // It was really looked at: no Node process is smaller than this.
    expect(peak).toBeGreaterThan(20 * 1024 ** 2);
    await expectNothingLeft(lab.home);
  };

  test('30,000 small files', async () => {
    const context = await lab.context('many', {
      Dockerfile: `${from}COPY files /files\nRUN find /files -type f | wc -l > /count`,
    });
    for (let folder = 0; folder < 300; folder++) {
      const at = join(context, 'files', String(folder));
      mkdirSync(at, { recursive: true });
      for (let file = 0; file < 100; file++) writeFileSync(join(at, `file-${file}.txt`), `${folder} ${file}\n`);
    }
    await modest(['-t', 'many', context]);
    expect(await lab.cat('many', '/count')).toBe('30000\n');
    await rm(join(context, 'files'), { recursive: true });
  });

  test('a file of 2 GiB in COPY, then in COPY --from', async () => {
    const context = await lab.context('big', { Dockerfile: `${from}COPY big /big` });
    // A pattern that no hole is made for and that compresses quickly, with noise in it.
    await must([
      ...[
        'sh',
        '-c',
        'head -c 67108864 /dev/urandom > "$1/noise"; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32; do cat "$1/noise"; done > "$1/big"; rm "$1/noise"',
        'sh',
        context,
      ],
    ]);
    await modest(['-t', 'big', context]);
    await rm(join(context, 'big'));
    const next = await lab.context('next', { Dockerfile: 'FROM scratch\nCOPY --from=big /big /copy' });
    await modest(['-t', 'copied', next]);
    await lab.slipway(['rm', 'big', 'copied']);
  });

  test('a RUN that writes 2 GiB', async () => {
    const context = await lab.context('written', {
      Dockerfile: `${from}RUN yes slipway | dd of=/big bs=1M count=2048 iflag=fullblock`,
    });
    await modest(['-t', 'written', context]);
    const { stdout } = await lab.slipway(['run', '--rm', 'written', 'stat', '-c', '%s', '/big']);
    expect(Number(stdout)).toBe(size);
  });
});
