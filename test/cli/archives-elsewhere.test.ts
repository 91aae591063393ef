// load, save and import of any size against a home behind a gateway, as an account is, with its limits and its tokens.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Api } from '../../cli/api-client.ts';
import { homeRegistry } from '../../cli/home-registry.ts';
import { Remote } from '../../cli/remote.ts';
import { saveElsewhere } from '../../cli/save-elsewhere.ts';
import { openHome } from '../../local/home.ts';
import { Images } from '../../shared/image/images.ts';
import { parsePlatform } from '../../shared/oci/platform.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { type CliOptions, cli } from '../support/cli.ts';
import { type GatewayHome, gatewayHome } from '../support/gateway-home.ts';
import { commitSmall, smallImage, smallIndex } from '../support/small-images.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

const now = Date.UTC(2026, 4, 5);
let folder: TempFolder;
let account: GatewayHome;
const password: Record<string, string> = {};

const temporary = () => readdir(join(folder.path, 'tmp'));
const at = (name: string) => join(folder.path, name);
const env = (who: string): Record<string, string> => ({ HOME: at(who), TMPDIR: at('tmp') });
const here = (args: readonly string[], more: Partial<CliOptions> = {}) =>
  cli(args, { home: at('laptop'), cwd: folder.path, env: env('nobody'), now, ...more });
const there = (who: string, args: readonly string[], more: Partial<CliOptions> = {}) =>
  cli(args, { home: at('none'), cwd: folder.path, env: { ...env(who), SLIPWAY_ENDPOINT: account.url }, now, ...more });
const good = async (call: ReturnType<typeof cli>) => {
  const result = await call;
  expect(result, result.err).toMatchObject({ code: 0 });
  return result;
};
const imagesThere = async () =>
  Object.fromEntries(
    (await new Images(account.home.parts).list()).flatMap(({ digest, names }) =>
      names.map(({ repository, tag }) => [`${repository}:${tag}`, digest]),
    ),
  );

async function tarOf(bytes: Uint8Array, path = 'data'): Promise<Buffer> {
  const entry = { path, type: 'file' as const, mode: 0o644, uid: 0, gid: 0, size: bytes.length, mtime: 0 };
  return Buffer.concat(await Array.fromAsync(writeTar([{ entry, body: { kind: 'bytes', bytes } }])));
}

beforeAll(async () => {
  folder = await tempFolder();
  await mkdir(at('tmp'));
  account = await gatewayHome(at('account'));
  password.ci = await account.account('ci', [{ repositories: 'team/*', actions: ['pull', 'push'] }]);
  password.reader = await account.account('reader', [{ repositories: 'team/*', actions: ['pull'] }]);
  password.admin = await account.account('admin', [{ repositories: '**', actions: ['pull', 'push', 'delete'] }]);
  for (const who of Object.keys(password))
    await good(
      cli(['login', '-u', who, '--password-stdin', account.url], { home: at('none'), env: env(who), stdin: password[who]! }),
    );
  await writeFile(at('big.tar'), await tarOf(randomBytes(6_500_000)));
  await writeFile(at('small.tar'), await tarOf(Buffer.from('small')));
  await good(here(['import', 'big.tar', 'team/big:1']));
  await good(here(['tag', 'team/big:1', 'team/same:x']));
  await good(here(['import', 'small.tar', 'team/small:1']));
  await good(here(['save', '-o', 'big.archive', 'team/big', 'team/same', 'team/small']));
});
afterAll(async () => {
  await account[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});
beforeEach(() => {
  account.requests.length = 0;
  account.scopes.clear();
  account.onRequest = () => undefined;
});

describe('an archive that is too large for one request', () => {
  it('is loaded by the registry, with the rights to its repositories and no others, and saved as it was', async () => {
    const { out, err } = await good(there('ci', ['load', '-i', 'big.archive']));
    expect([out, err]).toEqual(['Loaded image: team/big:1\nLoaded image: team/same:x\nLoaded image: team/small:1\n', '']);
    expect(account.requests.filter((name) => name.startsWith('POST /api/'))).toEqual([]);
    expect([...account.scopes].filter((scope) => scope.startsWith('repository:')).sort()).toEqual([
      'repository:team/big:pull',
      'repository:team/big:pull,push',
      'repository:team/same:pull',
      'repository:team/same:pull,push',
      'repository:team/small:pull',
      'repository:team/small:pull,push',
    ]);
    // The layer that two of them share went once: 6.5 MB in requests of 4 MiB, and a mount.
    expect(account.requests.filter((name) => name.startsWith('PATCH '))).toHaveLength(2);
    expect(await temporary()).toEqual([]);

    account.requests.length = 0;
    await good(there('reader', ['save', '-o', 'again.archive', 'team/big', 'team/same:x', `${account.host}/team/small`]));
    expect((await readFile(at('again.archive'))).equals(await readFile(at('big.archive')))).toBe(true);
    const toPipe = await good(there('reader', ['save', 'team/big', 'team/same', 'team/small']));
    expect(toPipe.bytes.equals(await readFile(at('big.archive')))).toBe(true);
    expect(await temporary()).toEqual([]);
    // What is there already is not sent again.
    account.requests.length = 0;
    await good(there('ci', ['load', '-q'], { stdin: gzipSync(await readFile(at('big.archive'))) }));
    expect(account.requests.filter((name) => /^PATCH|^POST \/v2/.test(name))).toEqual([]);
  });

  it('is saved by name, tag, digest, ID and the start of one', async () => {
    await good(here(['import', 'big.tar', 'team/words:1']));
    await good(here(['save', '-o', 'words.archive', 'team/words']));
    await good(there('ci', ['load', '-i', 'words.archive']));
    const id = (await imagesThere())['team/words:1']!;
    const plain = (await good(here(['save', id]))).bytes;
    for (const word of [id, id.slice(7), id.slice(7, 19), id.slice(0, 15), `team/words@${id}`]) {
      expect((await good(there('admin', ['save', word]))).bytes.equals(plain), word).toBe(true);
    }
    expect((await good(there('admin', ['save', 'team/words:1']))).bytes.equals(await readFile(at('words.archive')))).toBe(true);
    for (const word of ['team/nosuch', 'team/words:nosuch', 'abcd']) {
      const { code, err, bytes } = await there('admin', ['save', 'team/words', word]);
      expect([word, code, bytes.length, err]).toEqual([word, 1, 0, expect.stringContaining('No such image')]);
    }
    expect((await there('reader', ['save', id])).err).toContain('registry:catalog:*');
  });

  it('has names with the host of the home, or without it', async () => {
    for (const [file, source] of [
      ['host-big.archive', 'team/big:1'],
      ['host-small.archive', 'team/small:1'],
    ] as const) {
      const name = source.replace('team/', `${account.host}/team/host-`);
      await good(here(['tag', source, name]));
      await good(here(['save', '-o', file, name]));
      const { out } = await good(there('ci', ['load', '-i', file]));
      expect(out).toBe(`Loaded image: ${source.replace('team/', 'team/host-')}\n`);
      expect(Object.keys(await imagesThere())).toContain(source.replace('team/', 'team/host-'));
    }
  });

  it('with several platforms goes whole, or as one of them', async () => {
    await using home = await openHome({ env: { SLIPWAY_HOME: at('laptop') }, now: () => now });
    const { blobs, catalog } = home.parts;
    const member = (arch: string) => {
      const platform = parsePlatform(`linux/${arch}`);
      return smallImage(blobs, arch, { platform, layers: [randomBytes(1_700_000).toString('hex'), `own of ${arch}`] }).then(
        (image) => ({ ...image, platform }),
      );
    };
    const [arm, amd] = await Promise.all([member('arm64'), member('amd64')]);
    await commitSmall(catalog, 'team/multi', arm);
    await commitSmall(catalog, 'team/multi', amd);
    const index = smallIndex([arm, amd]);
    await commitSmall(catalog, 'team/multi', index, '1');
    await good(here(['save', '-o', 'multi.archive', 'team/multi:1']));
    await good(there('ci', ['load', '-i', 'multi.archive']));
    expect(await imagesThere()).toMatchObject({ 'team/multi:1': index.digest });
    expect((await good(there('ci', ['save', 'team/multi:1']))).bytes.equals(await readFile(at('multi.archive')))).toBe(true);
    account.requests.length = 0;
    const one = await good(there('ci', ['save', '--platform', 'linux/arm64', 'team/multi:1']));
    expect(one.bytes.equals((await good(here(['save', '--platform', 'linux/arm64', 'team/multi:1']))).bytes)).toBe(true);
    // No layer of the other.
    expect(account.requests.filter((name) => name.startsWith('GET /bucket/')).length).toBeLessThanOrEqual(4);

    const { out } = await good(there('ci', ['load', '--platform', 'linux/amd64', '-i', 'multi.archive']));
    expect(out).toBe('Loaded image: team/multi:1\n');
    expect(await imagesThere()).toMatchObject({ 'team/multi:1': amd.digest });
    const wrong = await there('ci', ['load', '--platform', 'linux/s390x', '-i', 'multi.archive']);
    expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining('linux/s390x')]);
    expect(await temporary()).toEqual([]);
  });

  it('moves no name when anything in it is wrong', async () => {
    const archive = await readFile(at('big.archive'));
    const before = await imagesThere();
    const corrupt = Buffer.from(archive);
    corrupt[archive.length >> 1]! ^= 1;
    for (const [what, bytes, said] of [
      ['a byte of a layer', corrupt, 'expected sha256:'],
      ['its end', archive.subarray(0, archive.length - 200_000), 'archive'],
      ['no archive', randomBytes(6_000_000), 'archive'],
    ] as const) {
      account.requests.length = 0;
      const { code, out, err } = await there('ci', ['load'], { stdin: bytes });
      expect([what, code, out, err]).toEqual([what, 1, '', expect.stringContaining(said)]);
      expect(account.requests.filter((name) => name.includes('/v2/'))).toEqual([]);
      expect(await temporary()).toEqual([]);
    }
    expect(await imagesThere()).toEqual(before);
  });

  it('moves no name when one of them may not be moved', async () => {
    await good(here(['tag', 'team/big:1', 'team/allowed:1']));
    await good(here(['tag', 'team/small:1', 'other/app:1']));
    await good(here(['save', '-o', 'denied.archive', 'team/allowed', 'other/app']));
    const { code, out, err } = await there('ci', ['load', '-i', 'denied.archive']);
    expect([code, out, err]).toEqual([1, '', expect.stringContaining('no grant for repository:other/app:pull,push')]);
    expect(Object.keys(await imagesThere())).not.toContain('team/allowed:1');
    const reader = await there('reader', ['load', '-i', 'big.archive']);
    expect([reader.code, reader.err]).toEqual([1, expect.stringContaining('no grant for repository:team/big:pull,push')]);
    expect(await temporary()).toEqual([]);
  });

  it('says what to do with images that have no name, or one that no registry can have', async () => {
    const { out } = await good(here(['import', 'big.tar']));
    await good(here(['save', '-o', 'nameless.archive', out.trim(), 'team/small']));
    const before = await imagesThere();
    const nameless = await there('admin', ['load', '-i', 'nameless.archive']);
    expect([nameless.code, nameless.out]).toEqual([1, '']);
    expect(nameless.err).toContain(`slipway --context default tag ${out.slice(7, 19)} ${account.host}/NAME:TAG`);
    await good(here(['tag', 'team/big:1', 'localhost:5000/team/big:1']));
    await good(here(['save', '-o', 'port.archive', 'team/small', 'localhost:5000/team/big']));
    const port = await there('admin', ['load', '-i', 'port.archive']);
    expect([port.code, port.err]).toEqual([1, expect.stringContaining(`e.g. ${account.host}/team/big.`)]);
    expect(await imagesThere()).toEqual(before);
    expect(await temporary()).toEqual([]);
  });

  it('is left nothing of by Ctrl-C', async () => {
    const uploads = '/v2/team/stopped/blobs/uploads/';
    for (const when of ['GET /api/v1', 'HEAD /v2/team/stopped/blobs/sha256:', `POST ${uploads}`, `PATCH ${uploads}ID`]) {
      const stop = new AbortController();
      account.onRequest = (name) => name.startsWith(when) && stop.abort('SIGINT');
      await good(here(['import', 'big.tar', 'team/stopped:1', '-m', when]));
      await good(here(['save', '-o', 'stopped.archive', 'team/stopped']));
      const { code, out, err } = await there('ci', ['load', '-i', 'stopped.archive'], { signal: stop.signal });
      expect([when, code, out, err]).toEqual([when, 130, '', 'Cancelled\n']);
      expect(await temporary()).toEqual([]);
    }
    expect(Object.keys(await imagesThere())).not.toContain('team/stopped:1');
  });

  it('is left nothing of by a second Ctrl-C, which does not wait', async () => {
    const module = new URL('../../cli/temporary-home.ts', import.meta.url);
    const script = `const { temporaryHome } = await import(${JSON.stringify(module.href)});
      await temporaryHome({ env: process.env, now: Date.now, signal: new AbortController().signal });
      console.log((await import('node:fs')).readdirSync(process.env.TMPDIR).length);
      process.exit(130);`;
    const ended = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, TMPDIR: at('tmp') },
    });
    await expect(ended).rejects.toMatchObject({ code: 130, stdout: '1\n' });
    expect(await temporary()).toEqual([]);
  });
});

describe('one that fits', () => {
  it('goes as one request, names or not', async () => {
    const { out } = await good(here(['import', 'small.tar']));
    await good(here(['save', '-o', 'fits.archive', out.trim()]));
    expect((await good(there('admin', ['load', '-i', 'fits.archive']))).out).toBe(`Loaded image ID: ${out}`);
    expect((await good(there('admin', ['import', 'small.tar']))).out).toMatch(/^sha256:/);
    expect(account.requests).toContain('POST /api/v1/images/load');
    expect(account.requests).toContain('POST /api/v1/images/import');
    expect(account.requests.filter((name) => name.includes('/v2/'))).toEqual([]);
  });

  it('is saved to the same bytes by either way', async () => {
    await good(there('ci', ['import', '-c', 'CMD ["/a"]', 'small.tar', 'team/either:1']));
    await good(there('ci', ['import', 'small.tar', 'team/small:1']));
    const endpoint = { url: account.url, chosenBy: 'the test', project: 'default' };
    using remote = new Remote(endpoint, { env: env('ci'), now: Date.now });
    const { signal } = new AbortController();
    const api = new Api((request, options) => remote.fetch(request, options), account.url, signal);
    const registry = await homeRegistry({ api: async () => api, remote: async () => remote });
    const words = ['team/either', 'team/small:1'];
    const byRegistry = await saveElsewhere(words, undefined, { registry: registry!, api, signal });
    account.requests.length = 0;
    const direct = await good(there('ci', ['save', ...words]));
    expect(account.requests.filter((name) => name.includes('/v2/'))).toEqual([]);
    expect(Buffer.concat(await Array.fromAsync(byRegistry)).equals(direct.bytes)).toBe(true);
  });
});

describe('a root filesystem that is too large for one request', () => {
  it('becomes the same image as on this machine', async () => {
    const args = ['-c', 'CMD ["/sh"]', '-m', 'dropped', '--platform', 'linux/riscv64', 'big.tar'];
    const own = await good(here(['import', ...args, 'team/rootfs:1']));
    expect(await good(there('ci', ['import', ...args, `${account.host}/team/rootfs:1`]))).toMatchObject({
      out: own.out,
      err: '',
    });
    expect(await imagesThere()).toMatchObject({ 'team/rootfs:1': own.out.trim() });
    const byPipe = await good(there('ci', ['import', '-', 'team/rootfs'], { stdin: gzipSync(await readFile(at('big.tar'))) }));
    expect(await imagesThere()).toMatchObject({ 'team/rootfs:latest': byPipe.out.trim() });
    expect(await temporary()).toEqual([]);
  });

  it('is for this machine, whatever the home runs on, large or small', async () => {
    for (const file of ['big.tar', 'small.tar']) {
      await good(there('ci', ['import', file, 'team/arch']));
      const [{ Architecture }] = JSON.parse((await good(there('ci', ['inspect', 'team/arch']))).out) as [
        { Architecture: string },
      ];
      expect(Architecture).toBe(process.arch === 'x64' ? 'amd64' : process.arch);
    }
  });

  it('needs a name, which may be pushed, and a tar', async () => {
    const before = await imagesThere();
    for (const [args, said] of [
      [['big.tar'], 'slipway import big.tar NAME[:TAG]'],
      [['big.tar', 'localhost:5000/x'], 'is not a name that the registry'],
      [['big.tar', 'other/x'], 'no grant for repository:other/x:pull,push'],
      [['-c', 'RUN x', 'big.tar', 'team/x'], 'RUN is not a valid change command'],
      [['big.archive.gz', 'team/x'], 'the archive'],
    ] as const) {
      await writeFile(at('big.archive.gz'), Buffer.concat([gzipSync('x'), randomBytes(5_000_000)]));
      const { code, out, err } = await there('ci', ['import', ...args]);
      expect([args, code, out, err]).toEqual([args, 1, '', expect.stringContaining(said)]);
      expect(await temporary()).toEqual([]);
    }
    expect(await imagesThere()).toEqual(before);
  });
});
