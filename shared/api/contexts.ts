// Contexts over the control API: the client sends the list of its files, is told which contents this project has never seen, and sends
// those: in packs through here (small ones, or where there is no other way), or straight to the bucket with a URL from /api/v1/blobs,
// followed by `adopt`. Everything may be sent again after a lost answer.
//
//   POST /api/v1/contexts?project=P                      a file list (slipway-context-v1, gzip allowed) -> id, missing
//   GET  /api/v1/contexts/ID?project=P
//   POST /api/v1/contexts/ID/complete?project=P          -> what is still missing; nothing: it can be built from
//   PUT  /api/v1/contexts/PROJECT/packs                  a pack (slipway-pack-v1)
//   PUT  /api/v1/contexts/PROJECT/bodies/DIGEST?size=N   one content of more than 4 MiB
//   POST /api/v1/contexts/PROJECT/adopt                  what a direct upload brought: a list, a pack or a body
import { gunzip } from 'node:zlib';
import * as z from 'zod/mini';
import { ContextStore, type Offered } from '../context/context-store.ts';
import { Context } from '../context/list.ts';
import { maxPackBytes } from '../context/pack.ts';
import { checkProject } from '../context/project.ts';
import { errnoOf, SlipwayError } from '../errors.ts';
import { parseDigest } from '../oci/digest.ts';
import type { Options } from '../store/blobs.ts';
import { limited } from '../stream/limited.ts';
import type { Access } from './access.ts';
import { checkMaker } from './blobs.ts';
import { type ApiRequest, json, maxJsonBytes, readAll, readJson } from './http.ts';
import type { ApiParts } from './parts.ts';
import { type Call, type Route, route } from './router.ts';
import { checked, digestText } from './schema.ts';

export const offeredContext = z.object({
  /** What a build names it by. */
  id: digestText,
  project: z.string(),
  /** Entries in the list. */
  files: z.number(),
  /** Digests of contents to send, at most 50,000. None: the context is complete. */
  missing: z.array(digestText),
  /** More are missing than are named: send these, then ask again with `complete`. */
  more: z.boolean(),
  /** Contents can go straight to the store, with URLs from POST /api/v1/blobs. */
  direct: z.boolean(),
});
export const contextFacts = z.object({ id: digestText, project: z.string(), files: z.number(), complete: z.boolean() });
export const adoptRequest = z.object({
  kind: z.enum(['list', 'pack', 'body']),
  /** The upload's id, as POST /api/v1/blobs gave it. */
  upload: z.string().check(z.maxLength(200)),
  digest: digestText,
  /** Bytes. */
  size: z.int().check(z.nonnegative()),
});
export const receivedBodies = z.object({ bodies: z.number() });

export type OfferedContext = z.infer<typeof offeredContext>;
export type ContextFacts = z.infer<typeof contextFacts>;
export type AdoptRequest = z.infer<typeof adoptRequest>;

/** Media type of a file list. */
export const listType = 'application/vnd.slipway.context.v1+ndjson';
export const packType = 'application/vnd.slipway.pack.v1';
/** Digests named in one answer: 4 MB, which every gateway passes. */
const namedAtOnce = 50_000;
/** A list, unpacked. */
const maxList = maxJsonBytes;

const optionsOf = ({ signal }: ApiRequest): Options => (signal === undefined ? {} : { signal });

export function contextRoutes(parts: ApiParts): readonly Route[] {
  const storeOf = (project: string | null | undefined, access: Access): { store: ContextStore; project: string } => {
    if (!project) throw new SlipwayError('USAGE', 'the project is missing', { hint: 'Add ?project=NAME.' });
    access.require({ project: checkProject(project), action: 'build' });
    return { store: new ContextStore({ ...parts, project }), project };
  };
  const answer = (project: string, { id, files, missing }: Offered): OfferedContext => ({
    id,
    project,
    files,
    missing: missing.slice(0, namedAtOnce),
    more: missing.length > namedAtOnce,
    direct: parts.blobs.link !== undefined,
  });
  const named = ({ params, query, access }: Call) => ({
    ...storeOf(query.get('project'), access),
    id: parseDigest(params.id, 'context'),
  });
  return [
    route('POST', '/api/v1/contexts', async ({ request, query, access }) => {
      const { store, project } = storeOf(query.get('project'), access);
      const context = Context.decode(await readList(request));
      return json(answer(project, await store.offer(context, optionsOf(request))), 201);
    }),
    route('PUT', '/api/v1/contexts/:project/packs', async ({ request, params, access }) => {
      if (request.body === null) throw new SlipwayError('INVALID_ARCHIVE', 'the pack is empty');
      const { store } = storeOf(params.project, access);
      const bodies = await store.receivePack(limited(request.body, maxPackBytes, 'the pack'), optionsOf(request));
      return json({ bodies: bodies.length }, 201);
    }),
    route('PUT', '/api/v1/contexts/:project/bodies/:digest', async ({ request, params, query, access }) => {
      const size = Number(query.get('size') ?? Number.NaN);
      if (!Number.isSafeInteger(size) || size < 0) throw new SlipwayError('USAGE', 'size: the number of bytes is expected');
      if (request.body === null) throw new SlipwayError('SIZE_MISMATCH', 'the content is empty');
      const { store } = storeOf(params.project, access);
      await store.receiveBody(request.body, parseDigest(params.digest), size, optionsOf(request));
      return json({ bodies: 1 }, 201);
    }),
    route('POST', '/api/v1/contexts/:project/adopt', async ({ request, params, access }) => {
      const { store, project } = storeOf(params.project, access);
      const asked = checked(adoptRequest, await readJson(request), 'adopt request');
      await checkMaker(parts, access, asked.upload);
      return adopt(parts, store, asked, (offered) => answer(project, offered), optionsOf(request));
    }),
    route('POST', '/api/v1/contexts/:id/complete', async (call) => {
      const { store, project, id } = named(call);
      const context = await store.loadList(id, optionsOf(call.request));
      if (context === undefined) throw new SlipwayError('NOT_FOUND', `there is no context ${id} in the project ${project}`);
      return json(answer(project, await store.offer(context, optionsOf(call.request))));
    }),
    route('GET', '/api/v1/contexts/:id', async (call) => {
      const { store, project, id } = named(call);
      const facts = await store.listFacts(id, optionsOf(call.request));
      if (facts === undefined) throw new SlipwayError('NOT_FOUND', `there is no context ${id} in the project ${project}`);
      const known: ContextFacts = { id, project, ...facts };
      return json(known);
    }),
  ];
}

async function adopt(
  { blobs }: ApiParts,
  store: ContextStore,
  { kind, upload, digest: text, size }: AdoptRequest,
  answer: (offered: Offered) => OfferedContext,
  options: Options,
) {
  const { link } = blobs;
  if (link === undefined) {
    throw new SlipwayError('UNSUPPORTED', 'this home has no direct uploads', { hint: 'Send it through the API.' });
  }
  const limit = { list: maxList, pack: maxPackBytes, body: Number.MAX_SAFE_INTEGER }[kind];
  if (size > limit) throw new SlipwayError('TOO_LARGE', `a ${kind} has at most ${limit} bytes`);
  const digest = parseDigest(text);
  // The bytes must have come from this client: that the store has them, from another project, gives nobody anything.
  await link.confirm(upload, { digest, size }, { proven: true });
  if (kind === 'body') {
    await store.adoptBody(digest, size, options);
    return json({ bodies: 1 }, 201);
  }
  if (kind === 'pack') return json({ bodies: (await store.adoptPack(digest, options)).length }, 201);
  const blob = await blobs.open(digest, undefined, options);
  if (blob === undefined) throw new SlipwayError('NOT_FOUND', `there is no list ${digest}`);
  const context = Context.decode(await readAll(blob.body, maxList, 'the file list'));
  return json(answer(await store.offer(context, options)), 201);
}

async function readList(request: ApiRequest): Promise<Buffer> {
  const bytes = await readAll(request.body, maxList, 'the file list');
  const encoding = request.headers.get('content-encoding');
  if (encoding === null || encoding === 'identity') return bytes;
  if (encoding !== 'gzip') throw new SlipwayError('UNSUPPORTED', `a file list in ${encoding}: only gzip is known`);
  return new Promise((resolve, reject) => {
    gunzip(bytes, { maxOutputLength: maxList }, (error, plain) => {
      if (error === null) resolve(plain);
      else if (errnoOf(error) === 'ERR_BUFFER_TOO_LARGE')
        reject(new SlipwayError('TOO_LARGE', `the file list is larger than ${maxList} bytes`));
      else reject(new SlipwayError('CONTEXT', 'the file list is damaged gzip', { cause: error }));
    });
  });
}
