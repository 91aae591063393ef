// What a CodeBuild machine installs, on machines that have some of it already.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { installTools } from '../../infra/runner-buildspec.ts';
import { tempFolder } from '../support/temp.ts';

const all = ['ip', 'iptables', 'unshare', 'nsenter', 'setpriv', 'mount', 'getfattr', 'setfattr', 'tar', 'gzip'];

/** The packages that are asked for where these tools are there; undefined when dnf is not called. */
async function asked(tools: readonly string[]): Promise<readonly string[] | undefined> {
  await using folder = await tempFolder();
  const bin = join(folder.path, 'bin');
  mkdirSync(bin);
  const put = (name: string, script: string): void => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  for (const tool of tools) put(tool, 'exit 0');
  const log = join(folder.path, 'log');
  writeFileSync(log, '');
  put('dnf', `echo "$@" >> ${log}`);
  // As it is run: the first command that fails ends it.
  execFileSync('/bin/sh', ['-c', `set -eu\n${installTools}\n`], { env: { PATH: bin } });
  const said = readFileSync(log, 'utf8').trim();
  if (said === '') return undefined;
  expect(said).toMatch(/^install -y /);
  return [...new Set(said.split(' ').filter((word) => !word.startsWith('-') && word !== 'install'))].sort();
}

test('only what is missing is installed', async () => {
  expect(await asked(all)).toBeUndefined();
  expect(await asked([])).toEqual(['attr', 'gzip', 'iproute', 'iptables-legacy', 'tar', 'util-linux']);
  // As CodeBuild's images for Amazon Linux 2023 are by their Dockerfiles: their docker has made its rules with the iptables that is there.
  expect(await asked(all.filter((tool) => !['ip', 'getfattr', 'setfattr'].includes(tool)))).toEqual(['attr', 'iproute']);
});
