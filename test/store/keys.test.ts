import { expect, test } from 'vitest';
import { sha256 } from '../../shared/oci/digest.ts';
import { blobKeys, catalogKeys, contextKeys, objectKeys, uploadKeys } from '../../shared/store/keys.ts';
import { compareBytes } from '../../shared/store/table-rules.ts';

test('the partitions of blobs, walked in order, are in digest order', () => {
  const digests = Array.from({ length: 200 }, (_, n) => sha256(`${n}`)).sort();
  const partitions = blobKeys.partitions();
  const places = digests.map((digest) => partitions.indexOf(blobKeys.record(digest).partition));
  expect(places).toEqual([...places].sort((a, b) => a - b));
  expect(places).not.toContain(-1);
  for (const digest of digests) expect(blobKeys.partitions(digest)[0]).toBe(blobKeys.record(digest).partition);
});

test('the records of parts are in the order of their numbers', () => {
  const sorts = [1, 2, 9, 10, 99, 100, 1000, 9999, 10_000].map((number) => uploadKeys.part('x', number).sort);
  expect([...sorts].sort(compareBytes)).toEqual(sorts);
  expect(sorts.every((sort) => sort.startsWith(uploadKeys.partPrefix))).toBe(true);
  expect(uploadKeys.state('x').sort.startsWith(uploadKeys.partPrefix)).toBe(false);
});

test('a name cannot become two', () => {
  const injected = expect.objectContaining({ code: 'INTERNAL' });
  expect(() => contextKeys.body('project#0', sha256('x'))).toThrow(injected);
  expect(() => catalogKeys.move('repository', 'tag#1', 1)).toThrow(injected);
  expect(catalogKeys.partition('team/app')).toBe('repository#team/app');
});

test('an object key leads to its upload, if it has one', () => {
  expect(objectKeys.uploadOf(objectKeys.upload('id', 'unique'))).toBe('id');
  expect(objectKeys.uploadOf(objectKeys.blob(sha256('x'), 'unique'))).toBeUndefined();
});
