import { expect, it } from 'vitest';
import { storedContext } from '../../shared/build/stored-context.ts';
import { ContextStore } from '../../shared/context/context-store.ts';
import { Context } from '../../shared/context/list.ts';
import { encodePack } from '../../shared/context/pack.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { openBody } from '../../shared/tar/write.ts';
import { storeHome } from '../support/store-home.ts';

it('asks for contents again that were lost after the context was complete', async () => {
  await using home = await storeHome();
  const bytes = Buffer.from('content');
  const entry = {
    path: 'a',
    type: 'file' as const,
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: bytes.length,
    mtime: 0,
    digest: sha256(bytes),
  };
  const store = new ContextStore({ ...home, project: 'p' });
  const context = new Context([entry]);
  const { id, missing } = await store.offer(context);
  expect(missing).toEqual([entry.digest]);
  await expect(storedContext(home, 'p', id)).rejects.toMatchObject({ code: 'CONTEXT' });

  const pack = encodePack([{ digest: entry.digest, bytes }]);
  const send = () =>
    store.receivePack(
      (async function* () {
        yield pack.bytes;
      })(),
    );
  await send();
  expect((await store.offer(context)).missing).toEqual([]);
  const source = await storedContext(home, 'p', id);
  const read = async () => Buffer.concat(await Array.fromAsync(await openBody(await source.body(entry), entry.size, undefined)));
  expect(await read()).toEqual(bytes);

  await home.table.delete({ partition: `body#p#${entry.digest.slice(7, 8)}`, sort: entry.digest });
  const later = await storedContext(home, 'p', id);
  await expect(Promise.resolve(later.body(entry))).rejects.toMatchObject({ code: 'CONTEXT', details: { path: 'a' } });
  expect(await store.listFacts(id)).toEqual({ files: 1, complete: false });
  await send();
  expect((await store.offer(context)).missing).toEqual([]);
});
