// Entries for the tests' laws: any path, any number, any attribute that a tar can hold.
import fc from 'fast-check';
import type { Entry, EntryWithBody } from '../../shared/layer/entry.ts';
import { decodeName } from '../../shared/tar/name.ts';

const component = fc
  .oneof(
    { weight: 6, arbitrary: fc.stringMatching(/^[a-zA-Z0-9_.@ +-]{1,30}$/) },
    { weight: 2, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }) },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 20 }).map(decodeName) },
    { weight: 1, arbitrary: fc.stringMatching(/^[a-z]{90,200}$/) },
  )
  .map((text) => text.replaceAll('/', '|').replaceAll('\u0000', '0'))
  .filter((text) => text !== '.' && text !== '..');

export const path = fc.array(component, { minLength: 1, maxLength: 6 }).map((parts) => parts.join('/'));

const id = fc.oneof(fc.integer({ min: 0, max: 70_000 }), fc.integer({ min: 0, max: 0xffffffff }));
const common = {
  path,
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: id,
  gid: id,
  mtime: fc.oneof(fc.integer({ min: 0, max: 2_000_000_000 }), fc.integer({ min: -5_000_000_000, max: 900_000_000_000 })),
};
const xattrs = fc.dictionary(
  fc.stringMatching(/^(user|security|trusted)\.[a-z]{1,10}$/),
  fc.uint8Array({ maxLength: 60 }).map((value) => Buffer.from(value).toString('base64')),
  { maxKeys: 3, noNullPrototype: true },
);
const device = { major: fc.integer({ min: 0, max: 4095 }), minor: fc.integer({ min: 0, max: 1_048_575 }) };

const withXattrs = (entry: Entry, extra: Readonly<Record<string, string>> | undefined): Entry =>
  extra === undefined || Object.keys(extra).length === 0 ? entry : { ...entry, xattrs: extra };

export const entryWithBody: fc.Arbitrary<EntryWithBody> = fc.oneof(
  fc
    .tuple(fc.record(common), fc.uint8Array({ maxLength: 3000 }), fc.option(xattrs, { nil: undefined }))
    .map(([entry, bytes, extra]) => ({
      entry: withXattrs({ ...entry, type: 'file' as const, size: bytes.length }, extra),
      ...(bytes.length > 0 && { body: { kind: 'bytes' as const, bytes } }),
    })),
  fc.tuple(fc.record(common), fc.option(xattrs, { nil: undefined })).map(([entry, extra]) => ({
    entry: withXattrs({ ...entry, type: 'dir' as const, size: 0 }, extra),
  })),
  fc.record({ ...common, link: path }).map((entry) => ({ entry: { ...entry, type: 'symlink' as const, size: 0 } })),
  fc.record({ ...common, link: path }).map((entry) => ({ entry: { ...entry, type: 'hardlink' as const, size: 0 } })),
  fc.record({ ...common, ...device }).map((entry) => ({ entry: { ...entry, type: 'char' as const, size: 0 } })),
  fc.record({ ...common, ...device }).map((entry) => ({ entry: { ...entry, type: 'block' as const, size: 0 } })),
  fc.record(common).map((entry) => ({ entry: { ...entry, type: 'fifo' as const, size: 0 } })),
);
