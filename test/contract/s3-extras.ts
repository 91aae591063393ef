// What S3Blobs does beyond the contract: URLs for clients, and how it uses the bucket.
import { createHash } from 'node:crypto';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { Bucket } from '../../shared/store/aws/bucket.ts';
import { sendParts } from '../../shared/store/aws/multipart-writer.ts';
import { S3Blobs } from '../../shared/store/aws/s3-blobs.ts';
import { ByteReader } from '../../shared/stream/byte-reader.ts';
import type { BlobsUnderTest } from './blobs-fixture.ts';
import { openTable } from './drivers.ts';
import { pattern, patternDigest } from './pattern.ts';
import { failure } from './table-suite.ts';

const MiB = 1 << 20;

type S3UnderTest = BlobsUnderTest & {
  readonly s3: S3Client;
  readonly spec: { readonly endpoint: string; readonly bucket: string; readonly table: string };
};

export function s3Extras(open: () => Promise<S3UnderTest>): void {
  describe('S3Blobs, objects that belong to nothing', () => {
    let tested: S3UnderTest;
    beforeEach(async () => {
      tested = await open();
    });
    afterEach(() => tested[Symbol.asyncDispose]());
    const day = 24 * 3600;
    const aged = async (days: number) =>
      new S3Blobs({
        client: tested.s3,
        bucket: tested.spec.bucket,
        table: await openTable({ ...tested.spec, driver: 'dynamo' }),
        prefix: 'home',
        now: () => Date.now() / 1000 + days * day,
      });
    const sweepAll = async (blobs: S3Blobs): Promise<number> => {
      let deleted = 0;
      for (let after: string | undefined; ; ) {
        const page = await blobs.fading.sweep({ before: Date.now() + 1e12, ...(after === undefined ? {} : { after }) });
        deleted += page.deleted;
        if (page.next === undefined) return deleted;
        after = page.next;
      }
    };

    test('go when nothing can commit them any more, and nothing else goes', async () => {
      const { blobs, s3, spec } = tested;
      const { digest } = await blobs.put(new Response('committed').body!);
      const open = await blobs.begin();
      await blobs.append(open.id, 0, pattern(1, 0, 6 * MiB));
      const finished = await blobs.begin();
      await blobs.append(finished.id, 0, new Response('finished').body!);
      await blobs.finish(finished.id, {});
      const link = await blobs.link!.write({ digest: sha256('sent'), size: 4 }, { seconds: 60 });
      expect((await fetch(link.url, { method: 'PUT', headers: link.headers, body: 'sent' })).status).toBe(200);
      const strays = [
        `home/blobs/sha256/${digest.slice(7)}/0123456789abcdef0123456789abcdef`,
        `home/blobs/sha256/${sha256('never').slice(7)}/0123456789abcdef0123456789abcdef`,
        'home/uploads/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef',
        `home/uploads/${finished.id}/0123456789abcdef0123456789abcdef`,
      ];
      for (const Key of strays) await s3.send(new PutObjectCommand({ Bucket: spec.bucket, Key, Body: 'x' }));
      const foreign = 'contexts/team.tar.gz';
      await s3.send(new PutObjectCommand({ Bucket: spec.bucket, Key: foreign, Body: 'x' }));
      expect(await sweepAll(await aged(7))).toBe(0);
      expect(await sweepAll(await aged(9))).toBe(strays.length + 1);
      const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: spec.bucket }));
      const left = Contents.map(({ Key }) => Key!);
      expect(left.filter((key) => strays.includes(key))).toEqual([]);
      expect(left).toContain(foreign);
      expect(await new Response((await blobs.open(digest))!.body).text()).toBe('committed');
      expect(await new Response((await blobs.open(sha256('finished')))!.body).text()).toBe('finished');
      expect(await blobs.finish(open.id, { size: 6 * MiB })).toMatchObject({ size: 6 * MiB });
    });

    test('cannot be confirmed when the sweep may take them', async () => {
      const link = await tested.blobs.link!.write({ digest: sha256('late'), size: 4 }, { seconds: 60 });
      await fetch(link.url, { method: 'PUT', headers: link.headers, body: 'late' });
      const late = (await aged(7.1)).link.confirm(link.id, { digest: sha256('late'), size: 4 });
      expect((await failure(late)).code).toBe('UPLOAD_UNKNOWN');
      await (await aged(6.9)).link.confirm(link.id, { digest: sha256('late'), size: 4 });
    });
  });

  describe('S3Blobs links', () => {
    let tested: S3UnderTest;
    beforeEach(async () => {
      tested = await open();
    });
    afterEach(() => tested[Symbol.asyncDispose]());
    const blob = { digest: sha256('hello'), size: 5 };
    const minute = { seconds: 60 };
    const send = async (url: string, headers: Readonly<Record<string, string>>, body: string): Promise<number> => {
      const answer = await fetch(url, { method: 'PUT', headers, body });
      await answer.text();
      return answer.status;
    };

    test('let a client read', async () => {
      const link = tested.blobs.link!;
      expect(await link.read(blob.digest, { method: 'GET', ...minute })).toBeUndefined();
      await tested.blobs.put(new Response('hello').body!);
      const get = await fetch((await link.read(blob.digest, { method: 'GET', ...minute }))!, { headers: { range: 'bytes=1-3' } });
      expect([get.status, await get.text()]).toEqual([206, 'ell']);
      const head = await fetch((await link.read(blob.digest, { method: 'HEAD', ...minute }))!, { method: 'HEAD' });
      expect([head.status, head.headers.get('content-length')]).toEqual([200, '5']);
    });

    test('let a client write just the bytes they are for, visible once confirmed', async () => {
      const link = tested.blobs.link!;
      const { url, headers, id } = await link.write(blob, minute);
      expect(new URL(url).searchParams.get('X-Amz-SignedHeaders')?.split(';')).toContain('x-amz-checksum-sha256');
      expect(url).not.toContain('crc32');
      expect((await failure(link.confirm(id, blob))).code).toBe('UPLOAD_UNKNOWN');
      expect(await send(url, headers, 'jello')).toBe(400);
      expect((await failure(link.confirm(id, blob))).code).toBe('UPLOAD_UNKNOWN');
      expect(await send(url, headers, 'hello')).toBe(200);
      expect(await tested.blobs.stat(blob.digest)).toBeUndefined();
      expect(await link.confirm(id, blob)).toEqual(blob);
      expect(await link.confirm(id, blob)).toEqual(blob);
      expect(await new Response((await tested.blobs.open(blob.digest))!.body).text()).toBe('hello');
      expect(await tested.leftovers()).toEqual([]);
    });

    test('confirm nothing that is not what it was said to be', async () => {
      const link = tested.blobs.link!;
      const { url, headers, id } = await link.write(blob, minute);
      // A store that takes a body without looking at its checksum: what AWS would refuse as unsigned.
      const { 'x-amz-checksum-sha256': _, ...unchecked } = headers;
      await send(url, unchecked, 'jello');
      expect((await failure(link.confirm(id, blob))).code).toMatch(/^(DIGEST_MISMATCH|UPLOAD_UNKNOWN)$/);
      expect(await tested.blobs.stat(blob.digest)).toBeUndefined();
      expect((await failure(link.confirm('../../x', blob))).code).toBe('UPLOAD_UNKNOWN');
      expect(await tested.leftovers()).toEqual([]);
    });

    test('of several clients for one blob keep one object', async () => {
      const link = tested.blobs.link!;
      const targets = await Promise.all([1, 2, 3].map(() => link.write(blob, minute)));
      for (const { url, headers } of targets) expect(await send(url, headers, 'hello')).toBe(200);
      for (const { id } of targets) expect(await link.confirm(id, blob)).toEqual(blob);
      for (const { id } of targets) expect(await link.confirm(id, blob)).toEqual(blob);
      expect(await tested.leftovers()).toEqual([]);
    });

    test('prove that the bytes came, where that is asked for', async () => {
      const link = tested.blobs.link!;
      const proven = { proven: true };
      await tested.blobs.put(new Response('hello').body!);
      const { url, headers, id } = await link.write(blob, minute);
      // The store has the blob, but not from here.
      expect((await failure(link.confirm(id, blob, proven))).code).toBe('UPLOAD_UNKNOWN');
      expect(await link.confirm(id, blob)).toEqual(blob);
      expect(await send(url, headers, 'hello')).toBe(200);
      expect(await link.confirm(id, blob, proven)).toEqual(blob);
      expect(await tested.leftovers()).toEqual([]);
    });

    test('refuse what one request to S3 cannot do', async () => {
      const link = tested.blobs.link!;
      expect((await failure(link.write({ ...blob, size: 5 * 1024 ** 3 + 1 }, minute))).code).toBe('TOO_LARGE');
      const long: Digest = `sha512:${'0'.repeat(128)}`;
      expect((await failure(link.write({ ...blob, digest: long }, minute))).code).toBe('UNSUPPORTED');
    });
  });

  describe('S3Blobs objects', () => {
    let tested: S3UnderTest;
    beforeEach(async () => {
      tested = await open();
    });
    afterEach(() => tested[Symbol.asyncDispose]());

    const keys = async (): Promise<string[]> => {
      const { Contents = [] } = await tested.s3.send(new ListObjectsV2Command({ Bucket: tested.spec.bucket }));
      return Contents.map(({ Key }) => Key!);
    };

    test('are committed where they were uploaded', async () => {
      const { id } = await tested.blobs.begin();
      await tested.blobs.append(id, 0, pattern(1, 0, 9 * MiB));
      const { digest } = await tested.blobs.finish(id, {});
      expect(await keys()).toEqual([expect.stringMatching(new RegExp(`^home/uploads/${id}/[0-9a-f]{32}$`))]);
      const { ContentLength, Body } = await tested.s3.send(
        new GetObjectCommand({ Bucket: tested.spec.bucket, Key: (await keys())[0]! }),
      );
      expect(ContentLength).toBe(9 * MiB);
      await Body!.transformToByteArray();
      // Deleting the blob lets go of its upload too: nothing is left to finish again.
      expect(await tested.blobs.delete(digest)).toBe(true);
      expect(await keys()).toEqual([]);
      expect((await failure(tested.blobs.finish(id, { digest }))).code).toBe('UPLOAD_UNKNOWN');
    });

    test('whose parts are too large for memory are streamed', async () => {
      const bucket = new Bucket(tested.s3, tested.spec.bucket);
      const size = 70 * MiB;
      const plan = { sizeOf: () => 65 * MiB };
      const upload = { key: 'streamed', id: await bucket.create('streamed', undefined) };
      const hash = createHash('sha256');
      const sent = await sendParts(bucket, upload, new ByteReader(pattern(6, 0, size)), plan, hash, { size }, undefined);
      expect(sent).toMatchObject({ size, parts: [{ PartNumber: 1 }, { PartNumber: 2 }] });
      await bucket.complete(upload, sent.parts, size, undefined);
      const read = createHash('sha256');
      for await (const chunk of (await bucket.get('streamed', 0, size, undefined))!) read.update(chunk);
      const digest = await patternDigest(6, size);
      expect([`sha256:${hash.digest('hex')}`, `sha256:${read.digest('hex')}`]).toEqual([digest, digest]);
    });

    test.each([
      ['less', -1],
      ['more', 1],
    ])('whose parts are streamed fail when %s comes than was announced', async (_, difference) => {
      const bucket = new Bucket(tested.s3, tested.spec.bucket);
      const size = 70 * MiB;
      const upload = { key: 'streamed', id: await bucket.create('streamed', undefined) };
      const reader = new ByteReader(pattern(6, 0, size + difference));
      const sending = sendParts(bucket, upload, reader, { sizeOf: () => 65 * MiB }, createHash('sha256'), { size }, undefined);
      expect((await failure(sending)).code).toBe('SIZE_MISMATCH');
      await bucket.drop(upload, undefined);
    });

    test('that vanished are reported, not taken for absence', async () => {
      const { digest } = await tested.blobs.put(new Response('hello').body!);
      await tested[Symbol.asyncDispose]();
      expect((await failure(tested.blobs.open(digest))).code).toBe('STORE');
    });
  });
}
