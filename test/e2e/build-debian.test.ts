// A real distribution as base: packages are installed in it, as root and as an ordinary user.
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { debianImage, debianReference } from '../support/base-images.ts';
import { buildLab, expectNothingLeft, type Lab, whyNoBuilds, whyNoUser } from '../support/build-lab.ts';
import { attempt } from '../support/command.ts';
import { whyNoRoot } from '../support/roots.ts';

/** The machine's own package sources have to answer. */
async function whyNoPackages(): Promise<string | undefined> {
  const update = await attempt(['sh', '-c', 'apt-get -qq -o APT::Update::Error-Mode=any update'], { env: { LC_ALL: 'C' } });
  return update.exitCode === 0 ? undefined : 'no package mirror answers';
}

const why = (await whyNoBuilds()) ?? whyNoRoot('debian') ?? (process.env.CI ? undefined : await whyNoPackages());
const whyUser = whyNoUser();

describe.skipIf(why !== undefined && !process.env.CI)(`Debian as base${why ? ` (${why})` : ''}`, () => {
  let lab: Lab;
  let context: string;

  beforeAll(async () => {
    lab = await buildLab([await debianImage()]);
    // Where packages come from is this machine's affair: sources, keys, proxies and authorities as they are here, none of it in the tree.
    context = await lab.context('debian', {
      Dockerfile: `FROM ${debianReference}
COPY machine/ /
RUN apt-get update && apt-get install -y --no-install-recommends jq
RUN echo '{"a":[1,2]}' | jq -c .a > /answer
`,
    });
    const at = (path: string) => join(context, 'machine', path);
    await mkdir(at('etc/apt'), { recursive: true });
    for (const path of ['/etc/apt/sources.list', '/etc/apt/sources.list.d', '/etc/apt/trusted.gpg.d', '/usr/share/keyrings']) {
      await cp(path, at(path), { recursive: true, dereference: true }).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
    }
    await mkdir(at('etc/ssl/certs'), { recursive: true });
    await cp('/etc/ssl/certs/ca-certificates.crt', at('etc/ssl/certs/ca-certificates.crt')).catch(() => undefined);
    const { stdout } = await attempt(['apt-config', 'dump']);
    await writeFile(
      at('etc/apt/apt.conf'),
      stdout
        .split('\n')
        .filter((line) => line.startsWith('Acquire::'))
        // A mirror that fails once says nothing about builds.
        .concat('Acquire::Retries "3";\n')
        .join('\n'),
    );
    await attempt(['chmod', '-R', 'a+rX', context]);
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  const proxies = ['http_proxy', 'https_proxy', 'no_proxy'].flatMap((name) =>
    process.env[name] === undefined ? [] : ['--build-arg', name],
  );
  const args = ['build', '--progress', 'plain', '-t', 'jq', ...proxies];

  test('apt-get update and install', async () => {
    const { exitCode, stderr } = await lab.slipway([...args, context]);
    expect({ exitCode, end: exitCode === 0 ? '' : stderr.slice(-3000) }).toEqual({ exitCode: 0, end: '' });
    expect(await lab.cat('jq', '/answer')).toBe('[1,2]\n');
    await expectNothingLeft(lab.home);
  });

  test.skipIf(whyUser !== undefined)(`as an ordinary user${whyUser ? ` (${whyUser})` : ''}`, async () => {
    await using user = await lab.user();
    const { exitCode, stderr } = await user.slipway([...args, context]);
    expect({ exitCode, end: exitCode === 0 ? '' : stderr.slice(-3000) }).toEqual({ exitCode: 0, end: '' });
    const ran = await user.slipway(['run', '--rm', 'jq', 'cat', '/answer']);
    expect(ran.stdout).toBe('[1,2]\n');
    await expectNothingLeft(join(user.path, 'home'));
  });
});
