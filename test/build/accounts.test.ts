import { describe, expect, it } from 'vitest';
import { readAccounts } from '../../shared/build/accounts.ts';
import type { LayerStore } from '../../shared/build/ports.ts';
import type { Entry } from '../../shared/layer/entry.ts';
import { MergedTree } from '../../shared/layer/merged.ts';
import { TocBuilder } from '../../shared/layer/toc-builder.ts';
import { TableToc } from '../../shared/layer/toc-table.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { entriesOf } from './trees.ts';

const { signal } = new AbortController();

/** A tree of layers, and a store that knows their files and notes what is asked of it. */
function image(...layers: readonly Record<string, string>[]) {
  const tocs = layers.map((files, index) => {
    const builder = new TocBuilder();
    for (const entry of entriesOf(files)) builder.add(entry, Buffer.from(files[entry.path] ?? ''));
    return new TableToc(builder.finish(sha256(String(index))));
  });
  const asked: string[] = [];
  const store: Pick<LayerStore, 'withBodies'> = {
    async withBodies(_layers, _tree, wanted, use) {
      asked.push(...wanted.map(({ path }) => path));
      return use((entry: Entry) => ({
        kind: 'bytes',
        bytes: Buffer.from(layers.findLast((l) => entry.path in l)![entry.path]!),
      }));
    },
  };
  return { tree: new MergedTree(tocs), store, asked };
}

const read = async (files: ReturnType<typeof image>, stored?: () => Promise<void>) => {
  const accounts = await readAccounts(files.store, [], files.tree, { signal, ...(stored === undefined ? {} : { stored }) });
  const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString();
  return { passwd: text(accounts('etc/passwd')), group: text(accounts('etc/group')), asked: files.asked };
};

describe('the accounts of an image', () => {
  it('come from the tables of contents, and no layer is read', async () => {
    const files = image({ 'etc/passwd': 'old', 'etc/group': 'g' }, { 'etc/passwd': 'new' });
    expect(await read(files)).toEqual({ passwd: 'new', group: 'g', asked: [] });
    expect(await read(image({ 'etc/passwd': '' }))).toEqual({ passwd: '', group: undefined, asked: [] });
    expect(await read(image({ 'etc/passwd/x': 'in a directory' }))).toEqual({ passwd: undefined, group: undefined, asked: [] });
  });

  it('are read from layers where links lead to other files, after these are stored', async () => {
    const files = image(
      {
        'usr/etc/accounts': 'users',
        'etc/passwd': '-> ../usr/etc/accounts',
        'etc/agroup': 'groups',
        'etc/group': '=> etc/agroup',
      },
      { 'usr/etc/accounts': 'more users' },
    );
    let waited = false;
    const stored = async () => {
      expect(files.asked).toEqual([]);
      waited = true;
    };
    const found = await read(files, stored);
    expect(found).toEqual({ passwd: 'more users', group: 'groups', asked: ['usr/etc/accounts', 'etc/agroup'] });
    expect(waited).toBe(true);
  });

  it('are read from layers when they are larger than tables keep', async () => {
    const large = `${'x'.repeat(300 * 1024)}\n`;
    expect(await read(image({ 'etc/passwd': large }))).toEqual({ passwd: large, group: undefined, asked: ['etc/passwd'] });
  });

  it('are refused when they cannot be lists of accounts', async () => {
    const builder = new TocBuilder();
    builder.add({ path: 'etc/passwd', type: 'file', mode: 0o644, uid: 0, gid: 0, size: 2 ** 30, mtime: 0, digest: sha256('') });
    const tree = new MergedTree([new TableToc(builder.finish(sha256('')))]);
    const { store } = image();
    await expect(readAccounts(store, [], tree, { signal })).rejects.toMatchObject({
      code: 'TOO_LARGE',
      message: "the image's /etc/passwd has 1073741824 bytes, and 67108864 is the most",
    });
  });
});
