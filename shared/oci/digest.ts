// Digests as in the OCI image spec ("Digests" in descriptor.md): algorithm ":" encoded. sha256 is what we make; sha512 is read.
import { createHash, type Hash } from 'node:crypto';
import { SlipwayError } from '../errors.ts';

export type Digest = `sha256:${string}` | `sha512:${string}`;

const shape = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/;

export const isDigest = (text: string): text is Digest => shape.test(text);

/** The digest in `text`, or INVALID_DIGEST naming `what` (a field, a parameter). */
export function parseDigest(text: unknown, what = 'digest'): Digest {
  if (typeof text === 'string' && isDigest(text)) return text;
  const shown = typeof text === 'string' ? `"${text.slice(0, 140)}"` : typeof text;
  throw new SlipwayError('INVALID_DIGEST', `${what}: ${shown} is not a digest such as sha256:<64 hex digits>`);
}

export const algorithmOf = (digest: Digest): 'sha256' | 'sha512' => (digest.startsWith('sha256:') ? 'sha256' : 'sha512');

export const encodedOf = (digest: Digest): string => digest.slice(7);

export const sha256 = (data: Uint8Array | string): Digest => `sha256:${createHash('sha256').update(data).digest('hex')}`;

/** A running SHA-256; ask for the digest once, at the end. */
export class Sha256 {
  #hash: Hash = createHash('sha256');
  size = 0;

  update(chunk: Uint8Array): this {
    this.#hash.update(chunk);
    this.size += chunk.length;
    return this;
  }

  digest(): Digest {
    return `sha256:${this.#hash.digest('hex')}`;
  }
}
