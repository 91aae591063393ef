// The same sources give the same image: from empty homes, at other times, with one thread and several, as root and as an ordinary user.
import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxImage, busyboxReference } from '../support/base-images.ts';
import { buildLab, expectNothingLeft, type Lab, whyNoBuilds, whyNoUser } from '../support/build-lab.ts';
import { attempt, must } from '../support/command.ts';
import { slipwayCommand } from '../support/slipway.ts';

const why = await whyNoBuilds();
const whyUser = whyNoUser();
const epoch = '1700000000';

const dockerfile = `FROM ${busyboxReference} AS one
RUN mkdir -p /d/e && echo x > /d/e/f && chown -R 1000:50 /d && ln /d/e/f /d/g && ln -s g /d/h && chmod 4711 /d/g && mkfifo /d/p
RUN rm -rf /usr/sbin && mkdir /usr/sbin && rm /bin/vi && mv /etc/group /etc/group.old && cp /etc/group.old /etc/group
WORKDIR /w/x
COPY --chown=app:app sub /copied/
ADD sub/a /added/
USER app
WORKDIR /home/app/deep
RUN id > id; umask > umask; seq 1 20000 > numbers
FROM ${busyboxReference}
COPY --from=one / /all/
COPY --from=one --chown=5:5 /copied /c
RUN mv /bin/busybox /bin/bb && /bin/bb mv /bin/bb /bin/busybox; touch -d @1000 /old; rmdir /tmp; mkdir /var/q; date > /dev/null
ENV a=b
LABEL x=y
CMD ["sh"]
`;

describe.skipIf(why !== undefined && !process.env.CI)(`determinism${why ? ` (${why})` : ''}`, () => {
  let lab: Lab;
  let context: string;
  let expected: string;

  /** Builds in a home that is empty but for the base. */
  const built = async (name: string, env: Readonly<Record<string, string>> = {}): Promise<string> => {
    const all = { SLIPWAY_HOME: join(lab.path, name), SOURCE_DATE_EPOCH: epoch, ...env };
    await must([slipwayCommand, 'load', '-q', '-i', (await busyboxImage()).archive], { env: all });
    const { stdout } = await must([slipwayCommand, 'build', '-q', context], { env: all });
    await expectNothingLeft(all.SLIPWAY_HOME);
    return stdout.trim();
  };

  beforeAll(async () => {
    lab = await buildLab();
    const noise = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * index * 7919 + (index >> 3)) & 255));
    context = await lab.context('same', {
      Dockerfile: dockerfile,
      'sub/noise': noise,
      'sub/a': 'a\n',
      'sub/empty': '',
      'sub/deep/x': 'x',
    });
    await must([
      'sh',
      '-c',
      'cd "$1" && ln -s a sub/link && ln sub/a sub/hard && chmod 4755 sub/noise && chmod 2775 sub/deep',
      'sh',
      context,
    ]);
    expected = await built('first', { SLIPWAY_THREADS: '1' });
    expect(expected).toMatch(/^sha256:[0-9a-f]{64}$/);
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test('several threads, another time, files touched after the epoch', async () => {
    await sleep(1100);
    await utimes(join(context, 'sub/a'), 1_800_000_000, 1_800_000_000);
    await utimes(join(context, 'sub'), 1_900_000_000, 1_900_000_000);
    expect(await built('second', { SLIPWAY_THREADS: '4' })).toBe(expected);
  });

  test('from the cache, and without it', async () => {
    const env = { SLIPWAY_HOME: join(lab.path, 'first'), SOURCE_DATE_EPOCH: epoch };
    expect((await must([slipwayCommand, 'build', '-q', context], { env })).stdout.trim()).toBe(expected);
    expect((await must([slipwayCommand, 'build', '-q', '--no-cache', context], { env })).stdout.trim()).toBe(expected);
  });

  test('the epoch as a build argument', async () => {
    const env = { SLIPWAY_HOME: join(lab.path, 'first'), SOURCE_DATE_EPOCH: undefined };
    const { stdout } = await must([slipwayCommand, 'build', '-q', '--build-arg', `SOURCE_DATE_EPOCH=${epoch}`, context], { env });
    expect(stdout.trim()).toBe(expected);
  });

  test('another epoch is another image', async () => {
    expect(await built('third', { SOURCE_DATE_EPOCH: '1700000001' })).not.toBe(expected);
  });

  test('two equal builds at once in one home', async () => {
    const env = { SLIPWAY_HOME: join(lab.path, 'both'), SOURCE_DATE_EPOCH: epoch };
    await must([slipwayCommand, 'load', '-q', '-i', (await busyboxImage()).archive], { env });
    const build = () => attempt([slipwayCommand, 'build', '-q', '-t', 'same', context], { env });
    const results = await Promise.all([build(), build()]);
    for (const { exitCode, stdout, stderr } of results) {
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      expect(stdout.trim()).toBe(expected);
    }
    await expectNothingLeft(env.SLIPWAY_HOME);
  });

  test.skipIf(whyUser !== undefined)(`an ordinary user${whyUser ? ` (${whyUser})` : ''}`, async () => {
    await using user = await lab.user();
    const { exitCode, stdout, stderr } = await user.slipway(['build', '-q', context], { env: { SOURCE_DATE_EPOCH: epoch } });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout.trim()).toBe(expected);
    await expectNothingLeft(join(user.path, 'home'));
  });
});
