import { describe, expect, it } from 'vitest';
import { BuildCache } from '../../shared/build/cache.ts';
import { type KeyStruct, keyOf } from '../../shared/build/key.ts';
import { chainIds } from '../../shared/oci/chain.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { canonicalJson } from '../../shared/oci/encode.ts';
import { storeHome } from '../support/store-home.ts';

const parent = chainIds([sha256('layer')])[0]!;
const struct: KeyStruct = {
  version: 1,
  parent,
  platform: 'linux/amd64',
  operation: { kind: 'run', args: ['/bin/sh', '-c', 'make'], env: ['A=1', 'B=2'], user: '', cwd: '/', network: 'host' },
};
const { operation } = struct;

describe('the key', () => {
  it('is of the canonical form: the order of members does not count', () => {
    const { args, ...rest } = operation as Extract<KeyStruct['operation'], { kind: 'run' }>;
    const reordered = { operation: { ...rest, args }, platform: struct.platform, parent, version: 1 } as const;
    expect(canonicalJson(reordered)).toBe(canonicalJson(struct));
    expect(keyOf(reordered)).toBe(keyOf(struct));
  });

  // A key that changed by accident would empty everyone's cache: raise `version` when it is meant.
  it('stays what it is from version to version of Slipway', () => {
    expect(canonicalJson(struct)).toBe(
      `{"operation":{"args":["/bin/sh","-c","make"],"cwd":"/","env":["A=1","B=2"],"kind":"run","network":"host","user":""},"parent":"${parent}","platform":"linux/amd64","version":1}`,
    );
  });

  it.each<[string, KeyStruct]>([
    ['the parent', { ...struct, parent: chainIds([sha256('other')])[0]! }],
    ['the platform', { ...struct, platform: 'linux/arm64' }],
    ['the epoch', { ...struct, epoch: 0 }],
    ['the command', { ...struct, operation: { ...operation, args: ['/bin/sh', '-c', 'make '] } as typeof operation }],
    ['where words are cut', { ...struct, operation: { ...operation, args: ['/bin/sh', '-c make'] } as typeof operation }],
    ['the order of the environment', { ...struct, operation: { ...operation, env: ['B=2', 'A=1'] } as typeof operation }],
    ['the user', { ...struct, operation: { ...operation, user: '0' } as typeof operation }],
    ['the folder', { ...struct, operation: { ...operation, cwd: '/x' } as typeof operation }],
    ['the network', { ...struct, operation: { ...operation, network: 'none' } as typeof operation }],
    ['a file that is shown', { ...struct, operation: { ...operation, files: [['EOF', sha256('x')]] } as typeof operation }],
  ])('depends on %s', (_, other) => {
    expect(keyOf(other)).not.toBe(keyOf(struct));
  });
});

describe('the cache', () => {
  it('answers what was saved, the last of it, and nothing for another key', async () => {
    await using home = await storeHome();
    const cache = new BuildCache(home.table);
    expect(await cache.lookup(struct)).toBeUndefined();
    await cache.save(struct, { diffId: sha256('1'), made: 1 });
    await cache.save(struct, { diffId: sha256('2'), made: 2 });
    expect(await cache.lookup(struct)).toEqual({ diffId: sha256('2'), made: 2 });
    expect(await cache.lookup({ ...struct, epoch: 1 })).toBeUndefined();
  });

  it('keeps the last layer of an instruction by project', async () => {
    await using home = await storeHome();
    const cache = new BuildCache(home.table);
    const slot = { scope: '/one', instruction: 'COPY . /' };
    await cache.remember(slot, sha256('1'));
    await cache.remember(slot, sha256('2'));
    expect(await cache.previous(slot)).toBe(sha256('2'));
    expect(await cache.previous({ ...slot, scope: '/two' })).toBeUndefined();
  });
});
