// Blobs that a client puts straight into the store, bound to the digest it names: the store itself checks the bytes. What they mean is
// said afterwards: `adopt` for contexts, `confirm` for anything else.
import * as z from 'zod/mini';
import { defaultProject } from '../context/project.ts';
import { SlipwayError } from '../errors.ts';
import { parseDigest } from '../oci/digest.ts';
import type { BlobLinks } from '../store/blobs.ts';
import { directKeys } from '../store/keys.ts';
import { isId } from '../store/staged-id.ts';
import type { Access } from './access.ts';
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

/** Seconds for which an upload may be told of: bytes on their way when the URL ended still count. */
const toldWithin = 24 * 3600;

/** Keeps whose upload it is: one account's id is of no use to another. */
async function rememberMaker({ table, clock }: ApiParts, { caller }: Access, id: string): Promise<void> {
  if (caller === undefined) return;
  await table.put(directKeys.upload(id), { by: caller.name }, { expires: Math.ceil(clock() / 1000) + toldWithin });
}

/** @throws UPLOAD_UNKNOWN for the upload of somebody else, as for none */
export async function checkMaker({ table }: ApiParts, { caller }: Access, id: string): Promise<void> {
  if (caller === undefined) return;
  const made = isId(id) ? await table.get(directKeys.upload(id)) : undefined;
  if ((made?.value as { readonly by?: string } | undefined)?.by === caller.name) return;
  throw new SlipwayError('UPLOAD_UNKNOWN', `there is no upload ${JSON.stringify(id.slice(0, 80))}`, {
    hint: 'Begin it with POST /api/v1/blobs, with the same login.',
  });
}

/** Bytes are for a context or for an image: whoever may make neither has none to send. */
function checkWriter(access: Access): void {
  const { caller } = access;
  const may = caller?.scopes.some(
    (scope) =>
      (scope.kind === 'project' && scope.actions.includes('build')) ||
      (scope.kind === 'repository' && scope.actions.includes('push')),
  );
  if (may === false) access.require({ project: defaultProject, action: 'build' });
}

export function blobRoutes(parts: ApiParts): readonly Route[] {
  const { blobs } = parts;
  const links = (): BlobLinks => {
    if (blobs.link !== undefined) return blobs.link;
    throw new SlipwayError('UNSUPPORTED', 'this home has no direct uploads', {
      hint: 'Send contexts through /api/v1/contexts, and images through the registry.',
    });
  };
  return [
    route('POST', '/api/v1/blobs', async ({ request, access }) => {
      checkWriter(access);
      const { digest, size } = checked(directUploadRequest, await readJson(request), 'upload request');
      const { url, headers, id } = await links().write({ digest: parseDigest(digest), size }, { seconds });
      await rememberMaker(parts, access, id);
      const answer: DirectUpload = { upload: id, method: 'PUT', url, headers: { ...headers }, seconds };
      return json(answer, 201);
    }),
    route('POST', '/api/v1/blobs/:digest/confirm', async ({ request, params, access }) => {
      checkWriter(access);
      const { upload, size } = checked(confirmRequest, await readJson(request), 'confirm request');
      await checkMaker(parts, access, upload);
      return json(await links().confirm(upload, { digest: parseDigest(params.digest), size }));
    }),
  ];
}
