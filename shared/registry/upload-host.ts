// The upload host: takes the bytes of uploads that a gateway in front of the registry would not pass. The registry starts an upload and
// names this host in its Location; here it is gone on with, ended or given up, by the same code, and nothing else is done.
//
//   PATCH, PUT, GET, HEAD, DELETE /up/<repository>/<id>?t=<ticket>
//
// The path does not begin with /v2/, so that clients take this for no registry and send it no token (docs/decisions/0019).
import { createRegistry } from './app.ts';
import { errorReply, OciError } from './errors.ts';
import type { Call, Handler } from './exchange.ts';
import type { RegistryParts } from './parts.ts';
import { parseRoute } from './route.ts';
import type { UploadTickets } from './upload-tickets.ts';

export interface UploadHostParts extends Pick<RegistryParts, 'blobs' | 'catalog' | 'requestId' | 'onFault'> {
  readonly tickets: UploadTickets;
  /** Where clients reach the registry, without a slash at the end: what is uploaded is found there. */
  readonly registryUrl: string;
}

/** Where an upload goes on; `host` without a slash at the end. */
export const uploadUrl =
  (host: string, tickets: UploadTickets) =>
  (repository: string, id: string): string =>
    `${host}/up/${repository}/${id}?t=${tickets.issue(repository, id)}`;

export function createUploadHost({ tickets, registryUrl, ...parts }: UploadHostParts): Handler {
  // Relative: on the host that the client reached this one by.
  const registry = createRegistry({ ...parts, uploadLocation: uploadUrl('', tickets), blobHost: registryUrl });
  return async (call) => {
    try {
      return await registry.handle(admitted(call, tickets));
    } catch (error) {
      return errorReply(error, parts.requestId);
    }
  };
}

/** The call as the registry knows it, once its ticket is good. */
function admitted(call: Call, tickets: UploadTickets): Call {
  const [, repository, id] = /^\/up\/([^%?]{1,300})\/([A-Za-z0-9_=-]{1,200})$/.exec(call.path) ?? [];
  const path = `/v2/${repository}/blobs/uploads/${id}`;
  // The registry reads a path from its end: what it makes of this one has to be the upload that the ticket is for.
  const route = repository === undefined || id === undefined ? undefined : parseRoute(path);
  if (route?.kind !== 'upload' || route.name !== repository || route.id !== id) {
    throw new OciError('UNSUPPORTED', 'this host takes uploads only, at the URL that the registry gave', { status: 404 });
  }
  const query = new URLSearchParams(call.query);
  if (!tickets.check(query.get('t'), repository, id)) {
    throw new OciError('DENIED', 'the URL of this upload is wrong or over: start the upload again at the registry');
  }
  return {
    ...call,
    path,
    header: (name) => call.header(name),
    body: call.body,
    get signal() {
      return call.signal;
    },
  };
}
