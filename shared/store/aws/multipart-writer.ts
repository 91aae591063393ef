// Sends one source as the parts of one object: several parts at a time, in bounded memory, hashed on the way.
import type { Hash } from 'node:crypto';
import type { CompletedPart } from '@aws-sdk/client-s3';
import type { ByteReader } from '../../stream/byte-reader.ts';
import type { Expected } from '../blobs.ts';
import { checkNotOver, checkSize } from '../expected.ts';
import type { Bucket, Multipart, Signal } from './bucket.ts';
import { concurrencyOf, maxBuffered, type PartPlan } from './part-plan.ts';

/** Fills `buffer` from `at` on; answers where it is filled to: short of its length only at the end of the source. */
export async function fill(reader: ByteReader, buffer: Uint8Array, at = 0): Promise<number> {
  while (at < buffer.length) {
    const chunk = await reader.some(buffer.length - at);
    if (chunk === undefined) break;
    buffer.set(chunk, at);
    at += chunk.length;
  }
  return at;
}

/** Sends all that `reader` has left; answers the parts and their bytes. When it fails, none of its requests is left under way. */
export async function sendParts(
  bucket: Bucket,
  upload: Multipart,
  reader: ByteReader,
  plan: PartPlan,
  hash: Hash,
  expected: Expected,
  signal: Signal,
): Promise<{ readonly parts: readonly CompletedPart[]; readonly size: number }> {
  const parts: CompletedPart[] = [];
  const failed = new AbortController();
  const either = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
  const underWay = new Set<Promise<void>>();
  /** Buffers of parts that were sent, to be filled again: left to the collector, many would be waiting for it. */
  const free: Buffer[] = [];
  let size = 0;
  let failure: { readonly error: unknown } | undefined;
  const track = (number: number, request: Promise<string>): Promise<void> => {
    const sending = request.then(
      (ETag) => void parts.push({ PartNumber: number, ETag }),
      (error: unknown) => {
        failure ??= { error };
        failed.abort();
      },
    );
    underWay.add(sending);
    return sending.finally(() => underWay.delete(sending));
  };
  try {
    for (let number = 1; !(await reader.ended()) && failure === undefined; number++) {
      const length = plan.sizeOf(number);
      if (length > maxBuffered && expected.size !== undefined) {
        // Its length must be told beforehand, so this takes a source that keeps its word; the size is checked again at the end.
        const left = Math.min(length, expected.size - size);
        checkNotOver(expected, left > 0 ? size + left : size + 1);
        const body = hashed(reader, left, hash, size, expected);
        await track(number, bucket.streamPart(upload, number, body, left, either));
        size += left;
        continue;
      }
      const idle = free.pop();
      const buffer = idle?.length === length ? idle : Buffer.allocUnsafeSlow(length);
      const filled = await fill(reader, buffer);
      const bytes = buffer.subarray(0, filled);
      hash.update(bytes);
      size += filled;
      checkNotOver(expected, size);
      void track(number, bucket.part(upload, number, bytes, either)).then(() => free.push(buffer));
      while (underWay.size >= concurrencyOf(length) && failure === undefined) await Promise.race(underWay);
    }
    await Promise.all(underWay);
  } catch (error) {
    failure ??= { error };
    failed.abort();
    await Promise.all(underWay);
  }
  if (failure !== undefined) throw failure.error;
  return { parts: parts.sort((a, b) => a.PartNumber! - b.PartNumber!), size };
}

/** Exactly `length` bytes of the source, hashed. */
async function* hashed(
  reader: ByteReader,
  length: number,
  hash: Hash,
  before: number,
  expected: Expected,
): AsyncGenerator<Uint8Array> {
  for (let left = length; left > 0; ) {
    const chunk = await reader.some(left);
    // Fails the request here, or S3 would wait for the rest of the announced length.
    if (chunk === undefined) return checkSize(expected, before + length - left);
    hash.update(chunk);
    left -= chunk.length;
    yield chunk;
  }
}
