// Logging in to registries that are no home of ours: what docker login does, without docker.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { json } from '../../shared/registry/exchange.ts';
import { cli } from '../support/cli.ts';
import { tempFolder } from '../support/temp.ts';
import { type Hook, startUpstream } from '../support/upstream.ts';

const encoded = (text: string) => Buffer.from(text).toString('base64');
const right = `Basic ${encoded('ann:p:w')}`;
const refusal = { errors: [{ code: 'UNAUTHORIZED', message: 'who are you?' }] };

const basic: Hook = (call, next) =>
  call.header('authorization') === right ? next(call) : json(401, refusal, { 'www-authenticate': 'Basic realm="x"' });

const bearer =
  (host: string): Hook =>
  (call, next) => {
    if (call.path === '/token') {
      if (call.header('authorization') !== right) return json(401, refusal);
      return json(200, {
        token: 'access',
        ...(new URLSearchParams(call.query).get('offline_token') === 'true' ? { refresh_token: 'refresh' } : {}),
      });
    }
    if (call.header('authorization') === 'Bearer access') return next(call);
    return json(401, refusal, { 'www-authenticate': `Bearer realm="http://${host}/token",service="it"` });
  };

it.each(['basic', 'bearer'])('tries the login at a registry, keeps it, uses it and forgets it: %s', async (kind) => {
  await using folder = await tempFolder();
  await using upstream = await startUpstream();
  const { host } = upstream;
  await upstream.pushImage('team/app', 'v1', 'layer');
  upstream.hook = kind === 'basic' ? basic : bearer(host);
  const env = { DOCKER_CONFIG: folder.path, SLIPWAY_CONFIG: folder.path, PATH: '/usr/bin:/bin' };
  const run = (words: readonly string[], stdin = '') => cli(words, { home: join(folder.path, 'home'), env, stdin });
  const file = join(folder.path, 'config.json');
  const login = ['login', '-u', 'ann', '--password-stdin', host];

  expect((await run(['pull', `${host}/team/app:v1`])).err).toContain(`slipway login ${host}`);
  expect(await run(login, 'wrong\n')).toMatchObject({ code: 1, out: '', err: `Error: ${host} refused this login\n` });
  expect(existsSync(file)).toBe(false);

  const { code, out, err } = await run(login, 'p:w\n');
  expect({ code, out }).toEqual({ code: 0, out: 'Login Succeeded\n' });
  expect(err).toContain(kind === 'basic' ? `WARNING! The password is kept unencrypted in ${file}.` : '');
  expect(err === '').toBe(kind === 'bearer');
  const kept = kind === 'basic' ? { auth: encoded('ann:p:w') } : { auth: encoded('ann:'), identitytoken: 'refresh' };
  expect(JSON.parse(readFileSync(file, 'utf8')).auths).toEqual({ [host]: kept });

  expect((await run(['logout', host])).out).toContain('Removed the login');
  expect(JSON.parse(readFileSync(file, 'utf8')).auths).toEqual({});
});

it('what does not answer is named, and nothing is kept', async () => {
  await using folder = await tempFolder();
  const env = { DOCKER_CONFIG: folder.path, SLIPWAY_CONFIG: folder.path };
  const words = ['login', '-u', 'ann', '--password-stdin', '127.0.0.1:1'];
  const { code, err } = await cli(words, { home: folder.path, env, stdin: 'x' });
  expect(code).toBe(1);
  expect(err).toContain('cannot reach 127.0.0.1:1');
  expect(existsSync(join(folder.path, 'config.json'))).toBe(false);
});
