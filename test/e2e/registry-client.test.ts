// Our pull and push against Debian's docker-registry: open, with a password file, and with tokens.
import { access, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCli } from '../../cli/run-cli.ts';
import { installed, must } from '../support/command.ts';
import { memoryIo } from '../support/memory-io.ts';
import { type Descriptor, makeLayout, nameAll, putImage, putIndex, randomLayer } from '../support/oci-folder.ts';
import { dockerRegistry, type RegistryProcess } from '../support/registry-process.ts';
import { type Scratch, scratch } from '../support/scratch.ts';
import { startTokenServer } from '../support/token-server.ts';

const here = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );
const why =
  (await here('/usr/bin/docker-registry')) && (await installed('skopeo')) && (await installed('openssl'))
    ? undefined
    : 'needs docker-registry, skopeo and openssl';

// bcrypt of "secret", made with htpasswd -nbB: docker-registry takes nothing else.
const htpasswd = 'ann:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a';

describe.skipIf(why !== undefined && !process.env.CI)(`pull and push${why === undefined ? '' : ` (${why})`}`, () => {
  let folder: Scratch;
  let layout: string;
  let image: Descriptor;
  let second: Descriptor;
  let index: Descriptor;

  beforeAll(async () => {
    folder = await scratch('slw-cli-');
    layout = join(folder.path, 'layout');
    await makeLayout(layout);
    const base = await randomLayer(layout, 2_000_000, 'base');
    image = await putImage(layout, [base, await randomLayer(layout, 300_000, 'top')]);
    second = await putImage(layout, [base], 'arm64');
    index = await putIndex(layout, [image, second]);
    await nameAll(layout, { image, index });
  });
  afterAll(async () => {
    await folder?.[Symbol.asyncDispose]();
  });

  const place = async (): Promise<string> => {
    const path = join(folder.path, `w${Math.random().toString(36).slice(2)}`);
    await mkdir(path);
    return path;
  };
  /** One `slipway` in a home of its own, with a docker config that knows `logins`. */
  const machine = async (logins: Record<string, string> = {}) => {
    const at = await place();
    const auths = Object.fromEntries(
      Object.entries(logins).map(([host, login]) => [host, { auth: Buffer.from(login).toString('base64') }]),
    );
    await writeFile(join(at, 'config.json'), JSON.stringify({ auths }));
    return async (...argv: string[]) => {
      // As in a shell, what follows `<` comes on standard input.
      const mark = argv.indexOf('<');
      const [words, input = ''] = mark === -1 ? [argv] : [argv.slice(0, mark), argv[mark + 1]];
      const env = { SLIPWAY_HOME: join(at, 'home'), DOCKER_CONFIG: at, SLIPWAY_CONFIG: at, PATH: process.env.PATH };
      const io = memoryIo(env, { input });
      const code = await runCli(words, io);
      return { code, out: io.out(), err: io.err() };
    };
  };
  const seed = (registry: RegistryProcess, name: string, what: string, ...more: string[]) =>
    must([
      'skopeo',
      '--insecure-policy',
      'copy',
      '-q',
      '--all',
      '--preserve-digests',
      '--dest-tls-verify=false',
      ...more,
      `oci:${layout}:${what}`,
      `docker://${registry.host}/${name}`,
    ]);

  test('pull: docker lines, up to date the second time, -q, by digest, -a, another platform', async () => {
    await using registry = await dockerRegistry(await place());
    await seed(registry, 'team/app:v1', 'index');
    await seed(registry, 'team/app:v2', 'image');
    const slipway = await machine();
    const name = `${registry.host}/team/app`;
    const first = await slipway('pull', `${name}:v1`);
    expect(first.err).toBe('');
    expect(first.code).toBe(0);
    const lines = first.out.trimEnd().split('\n');
    expect(lines[0]).toBe('v1: Pulling from team/app');
    expect(lines.filter((l) => l.endsWith(': Pull complete'))).toHaveLength(2);
    expect(lines.slice(-3)).toEqual([`Digest: ${index.digest}`, `Status: Downloaded newer image for ${name}:v1`, `${name}:v1`]);
    const again = await slipway('pull', `${name}:v1`);
    expect(again.out.split('\n')).toEqual([
      'v1: Pulling from team/app',
      `Digest: ${index.digest}`,
      `Status: Image is up to date for ${name}:v1`,
      `${name}:v1`,
      '',
    ]);
    expect((await slipway('pull', '-q', `${name}:v1`)).out).toBe(`${name}:v1\n`);
    const byDigest = await slipway('pull', `${name}:ignored@${index.digest}`);
    expect(byDigest.out).toContain(`Status: Image is up to date for ${name}@${index.digest}\n${name}@${index.digest}\n`);
    const arm = await slipway('pull', '--platform', 'linux/arm64', `${name}:v1`);
    expect(arm.out).toContain('Status: Downloaded newer image');
    const none = await slipway('pull', '--platform', 'linux/s390x', `${name}:v1`);
    expect([none.code, none.err]).toEqual([1, expect.stringContaining('no matching manifest for linux/s390x')]);
    const all = await slipway('pull', '-a', name);
    expect(all.out).toContain('v2: Pulling from team/app');
    expect(all.out.trimEnd().split('\n').at(-1)).toBe(name);
    const absent = await slipway('pull', `${name}:v9`);
    expect([absent.code, absent.err]).toEqual([
      1,
      `Error: manifest for ${name}:v9 not found: manifest unknown: manifest unknown\n`,
    ]);
    const untagged = await slipway('pull', name);
    expect(untagged.out).toContain('Using default tag: latest\n');
    expect(untagged.err).toContain(`manifest for ${name}:latest not found`);
  });

  test('push: what is missing, then nothing, a second tag, a mount; skopeo reads it', async () => {
    await using registry = await dockerRegistry(await place());
    await using target = await dockerRegistry(await place());
    await seed(registry, 'app:v1', 'image');
    const slipway = await machine();
    await slipway('pull', `${registry.host}/app:v1`);
    const home = await slipway('tag', `${registry.host}/app:v1`, `${target.host}/copy/app:v1`);
    expect(home.err).toBe('');
    const pushed = await slipway('push', `${target.host}/copy/app:v1`);
    expect(pushed.err).toBe('');
    expect(pushed.out).toContain(`The push refers to repository [${target.host}/copy/app]\n`);
    expect(pushed.out.match(/: Pushed$/gm)).toHaveLength(2);
    expect(pushed.out.trimEnd().split('\n').at(-1)).toBe(`v1: digest: ${image.digest} size: ${image.size}`);
    await slipway('tag', `${registry.host}/app:v1`, `${target.host}/copy/app:v2`);
    const second = await slipway('push', `${target.host}/copy/app:v2`);
    expect(second.out.match(/: Layer already exists$/gm)).toHaveLength(2);
    await slipway('tag', `${registry.host}/app:v1`, `${target.host}/other:v1`);
    const mounted = await slipway('push', `${target.host}/other:v1`);
    expect(mounted.out.match(/: Mounted from copy\/app$/gm)).toHaveLength(2);
    const listed = await must(['skopeo', 'inspect', '--tls-verify=false', `docker://${target.host}/other:v1`]);
    expect(JSON.parse(listed.stdout).Digest).toBe(image.digest);
    const all = await slipway('push', '-a', `${target.host}/copy/app`);
    expect(all.out.match(/The push refers/g)).toHaveLength(1);
    expect(all.out.match(/digest: sha256/g)).toHaveLength(2);
    expect((await slipway('push', '-q', `${target.host}/copy/app:v1`)).out).toBe(`${target.host}/copy/app:v1\n`);
    const absent = await slipway('push', `${target.host}/none:v1`);
    expect([absent.code, absent.err]).toEqual([
      1,
      expect.stringContaining(`An image does not exist locally with the tag: ${target.host}/none`),
    ]);
    const noTag = await slipway('push', `${target.host}/copy/app:v9`);
    expect([noTag.code, noTag.err]).toEqual([1, expect.stringContaining(`tag does not exist: ${target.host}/copy/app:v9`)]);
    expect((await slipway('push', `${target.host}/copy/app@${image.digest}`)).err).toContain('cannot push a digest reference');
  });

  test('a password file: refused without a login, or with another host’s; welcome with it', async () => {
    const at = await place();
    await writeFile(join(at, 'htpasswd'), `${htpasswd}\n`);
    await using registry = await dockerRegistry(at, `  htpasswd:\n    realm: test\n    path: ${join(at, 'htpasswd')}`);
    await seed(registry, 'private:v1', 'image', '--dest-creds', 'ann:secret');
    const name = `${registry.host}/private`;
    for (const logins of [{}, { '127.0.0.1:1': 'ann:secret' }, { [registry.host]: 'ann:wrong' }] as Record<string, string>[]) {
      const stranger = await machine(logins);
      const refused = await stranger('pull', `${name}:v1`);
      expect(refused.code).toBe(1);
      expect(refused.err).toContain(`pull access denied for ${name}, repository does not exist or may require 'docker login'`);
    }
    const slipway = await machine();
    const login = ['login', '-u', 'ann', '--password-stdin', registry.host, '<'];
    expect((await slipway(...login, 'wrong')).err).toBe(`Error: ${registry.host} refused this login\n`);
    expect((await slipway(...login, 'secret')).out).toBe('Login Succeeded\n');
    expect((await slipway('pull', `${name}:v1`)).err).toBe('');
    await slipway('tag', `${name}:v1`, `${name}:v2`);
    expect((await slipway('push', `${name}:v2`)).err).toBe('');
  });

  test('tokens: anonymous pull where allowed, a login elsewhere, denied otherwise', async () => {
    const at = await place();
    await using tokens = await startTokenServer(at, { name: 'ann', password: 'secret' }, ['open']);
    await using registry = await dockerRegistry(at, tokens.config);
    const login = ['--dest-creds', 'ann:secret'];
    await seed(registry, 'open:v1', 'image', ...login);
    await seed(registry, 'closed:v1', 'image', ...login);
    const stranger = await machine();
    expect((await stranger('pull', `${registry.host}/open:v1`)).err).toBe('');
    expect((await stranger('pull', `${registry.host}/closed:v1`)).err).toContain('pull access denied for');
    const denied = await stranger('push', `${registry.host}/open:v1`);
    expect([denied.code, denied.err]).toEqual([1, expect.stringMatching(/denied|unauthorized/)]);
    expect(denied.err).toContain(`slipway login ${registry.host}`);
    const slipway = await machine({ [registry.host]: 'ann:secret' });
    expect((await slipway('pull', `${registry.host}/closed:v1`)).err).toBe('');
    await slipway('tag', `${registry.host}/closed:v1`, `${registry.host}/mine/new:v1`);
    expect((await slipway('push', `${registry.host}/mine/new:v1`)).err).toBe('');
    expect(tokens.asked).toContain('repository:mine/new:pull,push');
  });
});
