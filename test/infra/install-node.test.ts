// The Node of runners: which one, from where, and that only what npm published is taken.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratch } from '../support/scratch.ts';

const script = join(import.meta.dirname, '../../functions/runner/install-node.sh');
const projectNode = join(import.meta.dirname, '../../node_modules/node/bin/node');

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const run = (folder: string, env: Readonly<Record<string, string>>): Promise<Ran> =>
  new Promise((resolve) => {
    execFile('/bin/sh', [script, join(folder, 'to')], { env }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });

/** A folder of commands: what the script needs, and `node` as it is given. */
function commands(folder: string, node?: string): string {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const name of ['uname', 'mkdir', 'rm', 'curl', 'sha512sum', 'tar', 'gzip']) {
    const found = ['/usr/bin', '/bin'].map((place) => join(place, name)).find((path) => existsSync(path));
    symlinkSync(found ?? `/usr/bin/${name}`, join(bin, name));
  }
  if (node !== undefined) writeFileSync(join(bin, 'node'), `#!/bin/sh\n${node}\n`, { mode: 0o755 });
  return bin;
}

test('names the Node that the package depends on, and its zlib', async () => {
  const text = readFileSync(script, 'utf8');
  const { dependencies } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  expect(/^version=(.*)$/m.exec(text)?.[1]).toBe(dependencies.node);
  await using folder = await scratch('slw-install-node-');
  const path = commands(folder.path, `exec '${projectNode}' "$@"`);
  // The very Node is taken as it is: nothing is fetched.
  expect(await run(folder.path, { PATH: path, SLIPWAY_NPM_REGISTRY: 'http://127.0.0.1:1' })).toEqual({
    code: 0,
    out: `${join(path, 'node')}\n`,
    err: '',
  });
});

test('takes neither a Node with another zlib nor bytes that npm did not publish', async () => {
  await using folder = await scratch('slw-install-node-');
  const path = commands(folder.path, 'exit 1');
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    response.end('not that Node');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const registry = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const { code, out, err } = await run(folder.path, { PATH: path, SLIPWAY_NPM_REGISTRY: registry });
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(err).toMatch(/install-node\.sh: http:\S+\/node-linux-(x64|arm64)\/-\/node-linux-\S+\.tgz is not what npm published/);
    expect(asked).toHaveLength(1);
    expect(existsSync(join(folder.path, 'to/node'))).toBe(false);
    expect(existsSync(join(folder.path, 'to/node.tgz'))).toBe(false);
  } finally {
    server.close();
  }
});

test('says what to do where npm cannot be reached', async () => {
  await using folder = await scratch('slw-install-node-');
  const { code, out, err } = await run(folder.path, {
    PATH: commands(folder.path),
    SLIPWAY_NPM_REGISTRY: 'http://127.0.0.1:1',
  });
  expect({ code, out }).toEqual({ code: 1, out: '' });
  expect(err).toContain('cannot be fetched: give this machine a way to it, or set SLIPWAY_NPM_REGISTRY to a mirror');
});
