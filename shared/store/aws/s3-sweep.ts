// Objects that no record leads to: a put whose record never came, the object of a race's loser, of a blob whose record was deleted just
// before the process died, of a presigned upload that nobody confirmed. Nothing that could still be committed is old enough: an upload's
// record lives seven days, a presigned upload can be confirmed for seven, and a day lies between that and this.
import { throwIfCancelled } from '../../errors.ts';
import type { Options, Swept } from '../blobs.ts';
import { mapBounded } from '../bounded.ts';
import { blobKeys, objectKeys, uploadKeys } from '../keys.ts';
import type { Key, Table, TableRecord } from '../table.ts';
import type { Bucket } from './bucket.ts';
import { confirmable } from './s3-links.ts';
import { lifetime } from './s3-uploads.ts';
import type { Place } from './shelf.ts';
import type { Open } from './upload-record.ts';

const day = 24 * 3600_000;
/** Milliseconds for which any object is left alone. */
const leastAge = Math.max(confirmable, lifetime * 1000) + day;

const folders = ['blobs/', 'uploads/'] as const;

/** One page of FadingBlobs.sweep. `now`: seconds since 1970. */
export async function sweepObjects(
  bucket: Bucket,
  table: Table,
  now: () => number,
  { after, before }: { readonly after?: string; readonly before: number },
  { signal }: Options = {},
): Promise<Swept> {
  throwIfCancelled(signal);
  const folder = after?.startsWith(folders[1]) ? folders[1] : folders[0];
  const { objects, next } = await bucket.list(folder, after, signal);
  const latest = Math.min(before, now() * 1000 - leastAge);
  const old = objects.filter(({ stored }) => stored < latest);
  const needed = await namedOf(
    table,
    old.map(({ key }) => key),
    signal,
  );
  const garbage = old.filter(({ key }) => !needed.has(key));
  await mapBounded(garbage, ({ key }) => bucket.remove(key, signal));
  const following = next ?? (folder === folders[0] ? folders[1] : undefined);
  return {
    ...(following === undefined ? {} : { next: following }),
    deleted: garbage.length,
    bytes: garbage.reduce((sum, { size }) => sum + size, 0),
  };
}

/** Those of `keys` that the record they lead to names. */
async function namedOf(table: Table, keys: readonly string[], signal: AbortSignal | undefined): Promise<ReadonlySet<string>> {
  const options = signal === undefined ? {} : { signal };
  const get = async (wanted: ReadonlyMap<string, Key>): Promise<ReadonlyMap<string, TableRecord>> => {
    const records = await table.getMany([...wanted.values()], options);
    return new Map([...wanted.keys()].flatMap((name, i) => (records[i] === undefined ? [] : [[name, records[i]]])));
  };
  const uploads = await get(new Map(keys.flatMap((key) => leadOf(key, objectKeys.uploadOf(key), (id) => uploadKeys.state(id)))));
  const digests = new Map(
    keys.flatMap((key) => {
      const done = (uploads.get(key)?.value as { readonly done?: { readonly digest?: string } } | undefined)?.done;
      return leadOf(key, objectKeys.digestOf(key) ?? objectKeys.asDigest(done?.digest), (digest) => blobKeys.record(digest));
    }),
  );
  const blobs = await get(digests);
  return new Set(
    keys.filter((key) => {
      const open = (uploads.get(key)?.value as { readonly open?: Open } | undefined)?.open;
      const place = blobs.get(key)?.value as Partial<Place> | undefined;
      return place?.key === key || open?.multipart?.key === key || open?.tail?.key === key;
    }),
  );
}

const leadOf = <T>(key: string, lead: T | undefined, record: (lead: T) => Key): readonly (readonly [string, Key])[] =>
  lead === undefined ? [] : [[key, record(lead)]];
