// Blobs that a client puts straight into the store, bound to the digest it names: the store itself checks the bytes. What they mean is
// said afterwards: `adopt` for contexts, `confirm` for anything else.
import * as z from 'zod/mini';
import { SlipwayError } from '../errors.ts';
import { parseDigest } from '../oci/digest.ts';
import type { BlobLinks } from '../store/blobs.ts';
import { json, readJson } from './http.ts';
import type { ApiParts } from './parts.ts';
import { type Route, route } from './router.ts';
import { checked, digestText } from './schema.ts';

export const directUploadRequest = z.object({ digest: digestText, size: z.int().check(z.positive()) });
export const directUpload = z.object({
  /** Names the upload afterwards. */
  upload: z.string(),
  method: z.literal('PUT'),
  url: z.string(),
  /** All of them must be sent, as they are. */
  headers: z.record(z.string(), z.string()),
  /** Seconds for which the URL works. */
  seconds: z.number(),
});
export const confirmRequest = z.object({ upload: z.string().check(z.maxLength(200)), size: z.int().check(z.positive()) });
export const storedBlob = z.object({ digest: digestText, size: z.number() });

export type DirectUploadRequest = z.infer<typeof directUploadRequest>;
export type DirectUpload = z.infer<typeof directUpload>;
export type ConfirmRequest = z.infer<typeof confirmRequest>;

/** Long enough for 5 GB at 50 Mbit/s. */
const seconds = 900;

export function blobRoutes({ blobs }: ApiParts): readonly Route[] {
  const links = (): BlobLinks => {
    if (blobs.link !== undefined) return blobs.link;
    throw new SlipwayError('UNSUPPORTED', 'this home has no direct uploads', {
      hint: 'Send contexts through /api/v1/contexts, and images through the registry.',
    });
  };
  return [
    route('POST', '/api/v1/blobs', async ({ request }) => {
      const { digest, size } = checked(directUploadRequest, await readJson(request), 'upload request');
      const { url, headers, id } = await links().write({ digest: parseDigest(digest), size }, { seconds });
      const answer: DirectUpload = { upload: id, method: 'PUT', url, headers: { ...headers }, seconds };
      return json(answer, 201);
    }),
    route('POST', '/api/v1/blobs/:digest/confirm', async ({ request, params }) => {
      const { upload, size } = checked(confirmRequest, await readJson(request), 'confirm request');
      return json(await links().confirm(upload, { digest: parseDigest(params.digest), size }));
    }),
  ];
}
