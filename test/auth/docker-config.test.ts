import { chmod, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { dockerCredentials, eraseDockerCredentials, storeDockerCredentials } from '../../shared/auth/docker-config.ts';
import { type Scratch, scratch } from '../support/scratch.ts';

let folder: Scratch;
beforeEach(async () => {
  folder = await scratch('slw-auth-', 1e6);
});
afterEach(() => folder[Symbol.asyncDispose]());

const encode = (login: string) => ({ auth: Buffer.from(login).toString('base64') });
const config = (document: unknown) =>
  writeFile(join(folder.path, 'config.json'), typeof document === 'string' ? document : JSON.stringify(document));
const ask = (host: string, path = 'app', helperTimeout = 5000) =>
  dockerCredentials(host, path, { env: { DOCKER_CONFIG: folder.path, PATH: `${folder.path}:/usr/bin:/bin` }, helperTimeout });

/** A helper that is a shell script; its input is in $server. */
async function helper(name: string, script: string) {
  const file = join(folder.path, `docker-credential-${name}`);
  await writeFile(file, `#!/bin/sh\nread -r server\n${script}\n`);
  await chmod(file, 0o755);
}

test('no file, no login', async () => expect(await ask('ghcr.io')).toBe(undefined));

test('a login is for its host alone, port included', async () => {
  await config({ auths: { 'gcr.io': encode('g:1'), 'localhost:5000': encode('l:p:w') } });
  expect(await ask('gcr.io')).toEqual({ username: 'g', password: '1' });
  expect(await ask('localhost:5000')).toEqual({ username: 'l', password: 'p:w' });
  for (const other of ['docker.io', 'eu.gcr.io', 'gcr.io.evil.example', 'localhost', 'localhost:5001', 'cr.io']) {
    expect(await ask(other)).toBe(undefined);
  }
});

test('the longest key wins', async () => {
  await config({ auths: { 'r.io': encode('all:1'), 'r.io/team': encode('team:2'), 'r.io/team/app': encode('app:3') } });
  expect((await ask('r.io', 'team/app'))?.username).toBe('app');
  expect((await ask('r.io', 'team/other'))?.username).toBe('team');
  expect((await ask('r.io', 'teams/x'))?.username).toBe('all');
});

test.each(['https://index.docker.io/v1/', 'index.docker.io', 'docker.io', 'https://registry-1.docker.io'])(
  '%s is Docker Hub',
  async (key) => {
    await config({ auths: { [key]: encode('hub:1') } });
    expect(await ask('docker.io', 'library/debian')).toEqual({ username: 'hub', password: '1' });
  },
);

test('keys with a scheme, a version and a slash', async () => {
  await config({ auths: { 'https://r.io/v2/': encode('a:b') } });
  expect(await ask('r.io')).toEqual({ username: 'a', password: 'b' });
});

test('tokens', async () => {
  await config({
    auths: {
      'a.io': { identitytoken: 'i' },
      'b.io': { registrytoken: 'r' },
      'c.io': { username: 'u', password: 'p' },
      'd.io': {},
    },
  });
  expect(await ask('a.io')).toEqual({ identityToken: 'i' });
  expect(await ask('b.io')).toEqual({ registryToken: 'r' });
  expect(await ask('c.io')).toEqual({ username: 'u', password: 'p' });
  expect(await ask('d.io')).toBe(undefined);
});

test('a helper for the host, a store for the rest, the file after both', async () => {
  await helper('one', `[ "$server" = r.io ] && printf '{"ServerURL":"r.io","Username":"h","Secret":"s"}'`);
  await helper(
    'all',
    `case $server in
    t.io) printf '{"Username":"<token>","Secret":"tok"}';;
    https://index.docker.io/v1/) printf '{"Username":"hub","Secret":"x"}';;
    *) echo "credentials not found in native keychain"; exit 1;;
  esac`,
  );
  await config({ credHelpers: { 'r.io': 'one' }, credsStore: 'all', auths: { 'r.io': encode('no:no'), 'f.io': encode('f:1') } });
  expect(await ask('r.io')).toEqual({ username: 'h', password: 's' });
  expect(await ask('t.io')).toEqual({ identityToken: 'tok' });
  expect(await ask('docker.io')).toEqual({ username: 'hub', password: 'x' });
  expect(await ask('f.io')).toEqual({ username: 'f', password: '1' });
  expect(await ask('none.io')).toBe(undefined);
});

test.each([
  ['fails', 'echo no keychain; exit 2', 'no keychain'],
  ['answers nonsense', 'echo hello', 'no JSON'],
  ['answers without a login', "printf '{}'", 'no login'],
  ['is not there', undefined, 'no such program'],
])('a helper that %s is told by name', async (_, script, words) => {
  if (script !== undefined) await helper('bad', script);
  await config({ credsStore: 'bad' });
  await expect(ask('r.io')).rejects.toMatchObject({
    code: 'UNAUTHORIZED',
    message: expect.stringContaining(words),
    hint: expect.stringContaining('config.json'),
  });
});

test('a helper that hangs is ended', async () => {
  await helper('slow', 'exec sleep 30');
  await config({ credsStore: 'slow' });
  await expect(ask('r.io', 'app', 200)).rejects.toMatchObject({ message: expect.stringContaining('did not end') });
});

test('a helper is a name, not a path', async () => {
  await mkdir(join(folder.path, 'docker-credential-'));
  await config({ credsStore: '/../evil' });
  await expect(ask('r.io')).rejects.toMatchObject({ code: 'INVALID_DOCUMENT' });
});

test.each(['{', '[]', 'null', '{"auths":[]}', '{"auths":{"r.io":{"auth":"!!!!"}}}'])('a damaged file: %s', async (text) => {
  await config(text);
  const asked = ask('r.io');
  if (text === '{' || text.includes('!')) await expect(asked).rejects.toMatchObject({ code: 'INVALID_DOCUMENT' });
  else expect(await asked).toBe(undefined);
});

const options = () => ({ env: { DOCKER_CONFIG: folder.path, PATH: `${folder.path}:/usr/bin:/bin` }, helperTimeout: 5000 });
const file = (name = 'config.json') => join(folder.path, name);

test('a login is stored as docker stores it, and the rest of the file stays', async () => {
  await storeDockerCredentials('r.io', { username: 'ann', password: 'p:w' }, options());
  expect(JSON.parse(await readFile(file(), 'utf8'))).toEqual({ auths: { 'r.io': encode('ann:p:w') } });
  expect((await stat(file())).mode & 0o777).toBe(0o600);
  await config({ auths: { 'a.io': encode('a:1') }, HttpHeaders: { X: 'y' } });
  await storeDockerCredentials('r.io', { username: 'ann', identityToken: 'tok' }, options());
  await storeDockerCredentials('docker.io', { registryToken: 'reg' }, options());
  expect(JSON.parse(await readFile(file(), 'utf8'))).toEqual({
    auths: {
      'a.io': encode('a:1'),
      'r.io': { ...encode('ann:'), identitytoken: 'tok' },
      'https://index.docker.io/v1/': { registrytoken: 'reg' },
    },
    HttpHeaders: { X: 'y' },
  });
  expect(await ask('r.io')).toMatchObject({ identityToken: 'tok' });
  expect(await ask('docker.io')).toEqual({ registryToken: 'reg' });
  expect([await eraseDockerCredentials('r.io', options()), await eraseDockerCredentials('r.io', options())]).toEqual([
    true,
    false,
  ]);
  expect(await ask('r.io')).toBe(undefined);
  expect(await ask('a.io')).toMatchObject({ username: 'a' });
});

test('a link to a file elsewhere stays one', async () => {
  await writeFile(file('real.json'), '{}');
  await symlink('real.json', file());
  await storeDockerCredentials('r.io', { username: 'ann', password: 'p' }, options());
  expect(JSON.parse(await readFile(file('real.json'), 'utf8'))).toEqual({ auths: { 'r.io': encode('ann:p') } });
});

test('a helper keeps what the file does not', async () => {
  // One that keeps a login in a file.
  const script = `case "$1" in
store) echo "$server" > "${file('kept')}" ;;
erase) rm -f "${file('kept')}" ;;
get) if [ -e "${file('kept')}" ]; then cat "${file('kept')}"; else echo "credentials not found in native keychain"; exit 1; fi ;;
esac`;
  await helper('keep', script);
  await config({ credsStore: 'keep' });
  await storeDockerCredentials('r.io', { username: 'ann', password: 'secret' }, options());
  expect(JSON.parse(await readFile(file('kept'), 'utf8'))).toEqual({ ServerURL: 'r.io', Username: 'ann', Secret: 'secret' });
  expect(JSON.parse(await readFile(file(), 'utf8'))).toEqual({ credsStore: 'keep', auths: { 'r.io': {} } });
  expect(await ask('r.io')).toEqual({ username: 'ann', password: 'secret' });
  await storeDockerCredentials('r.io', { username: 'ann', identityToken: 'tok' }, options());
  expect(await ask('r.io')).toEqual({ identityToken: 'tok' });
  expect(await eraseDockerCredentials('r.io', options())).toBe(true);
  expect(JSON.parse(await readFile(file(), 'utf8'))).toEqual({ credsStore: 'keep', auths: {} });
  expect(await eraseDockerCredentials('r.io', options())).toBe(false);
  await helper('broken', 'echo "the keychain is locked" >&2; exit 2');
  await config({ credHelpers: { 'r.io': 'broken' } });
  await expect(storeDockerCredentials('r.io', { username: 'a', password: 'hidden' }, options())).rejects.toThrow(
    /keychain is locked/,
  );
});
