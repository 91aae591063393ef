// The registry: one function from call to reply (OCI distribution-spec 1.1, and docker's v1 search), without a framework, because the
// hot path of a registry is a lookup and a few headers.
import type { Digest } from '../oci/digest.ts';
import { ByteCache } from '../store/byte-cache.ts';
import { deleteBlob, readBlob } from './blobs.ts';
import { errorReply, isFault, OciError } from './errors.ts';
import { type Call, type Handler, json, type Reply, toCall, toResponse } from './exchange.ts';
import { listReferrers, listRepositories, listTags } from './listings.ts';
import { deleteManifest, putManifest, readManifest } from './manifests.ts';
import type { RegistryParts } from './parts.ts';
import { parseRoute, type Route } from './route.ts';
import { ping, search } from './search.ts';
import { appendChunk, cancelUpload, finishUpload, startUpload, uploadStatus } from './uploads.ts';

export interface Registry {
  /** For a server of ours: no web objects on the way. Never rejects. */
  readonly handle: Handler;
  /** The same for anything that speaks Request and Response. */
  fetch(request: Request): Promise<Response>;
}

const apiVersion = { 'docker-distribution-api-version': 'registry/2.0' };

export function createRegistry(parts: RegistryParts): Registry {
  const memory = new ByteCache<Digest>(parts.manifestMemory ?? 64 * 1024 * 1024);

  const answer = async (call: Call): Promise<Reply> => {
    const refused = parts.guard === undefined ? undefined : await parts.guard(call);
    if (refused !== undefined) return refused;
    const route = parseRoute(call.path);
    if (route === undefined) throw new OciError('UNSUPPORTED', `there is nothing at ${call.path.slice(0, 300)}`, { status: 404 });
    const method = methods[route.kind];
    if (!method.includes(call.method)) throw new OciError('UNSUPPORTED', undefined, { headers: { allow: method.join(', ') } });
    return serve(parts, memory, call, route);
  };

  const handle: Handler = async (call) => {
    let reply: Reply;
    try {
      reply = await answer(call);
    } catch (error) {
      const requestId = parts.requestId();
      reply = errorReply(error, () => requestId);
      if (isFault(reply)) parts.onFault?.({ requestId, call, error });
    }
    return { ...reply, headers: { ...apiVersion, ...reply.headers } };
  };

  return {
    handle,
    fetch: async (request) => {
      const call = toCall(request);
      return toResponse(await handle(call), call);
    },
  };
}

const reading: readonly string[] = ['GET', 'HEAD'];
const methods: Readonly<Record<Route['kind'], readonly string[]>> = {
  version: reading,
  ping: reading,
  search: reading,
  catalog: reading,
  tags: reading,
  referrers: reading,
  blob: [...reading, 'DELETE'],
  uploads: ['POST'],
  upload: [...reading, 'PATCH', 'PUT', 'DELETE'],
  manifest: [...reading, 'PUT', 'DELETE'],
};

function serve(parts: RegistryParts, memory: ByteCache<Digest>, call: Call, route: Route): Promise<Reply> | Reply {
  switch (route.kind) {
    case 'version':
      return json(200, {});
    case 'ping':
      return ping();
    case 'search':
      return search(parts, call);
    case 'catalog':
      return listRepositories(parts, call);
    case 'tags':
      return listTags(parts, call, route.name);
    case 'referrers':
      return listReferrers(parts, call, route.name, route.digest);
    case 'blob':
      if (call.method === 'DELETE') return deleteBlob(parts, route.name, route.digest);
      return readBlob(parts, call, route.name, route.digest);
    case 'uploads':
      return startUpload(parts, call, route.name);
    case 'upload':
      if (call.method === 'PATCH') return appendChunk(parts, call, route.name, route.id);
      if (call.method === 'PUT') return finishUpload(parts, call, route.name, route.id);
      if (call.method === 'DELETE') return cancelUpload(parts, route.id);
      return uploadStatus(parts, route.name, route.id);
    case 'manifest':
      if (call.method === 'PUT') return putManifest(parts, call, route.name, route.reference);
      if (call.method === 'DELETE') return deleteManifest(parts, memory, route.name, route.reference);
      return readManifest(parts, memory, call, route.name, route.reference);
  }
}
