// The control API: one function from request to response, for the command line (in process, in the embedded home), for a server and
// for Lambda. Each subject is a module of routes, loaded at its first use, so that `slipway images` never loads the builder.
import { isCode } from '../errors.ts';
import { admit, challengeOf } from './access.ts';
import { type ApiFetch, type ApiResponse, errorResponse } from './http.ts';
import type { ApiParts, ApiTrust } from './parts.ts';
import { dispatch, type Route } from './router.ts';

interface Subject {
  readonly prefix: string;
  /** Only this path, nothing below it: an image may be called `pull`. */
  readonly exact?: true;
  readonly load: (parts: ApiParts, trust: ApiTrust) => Promise<readonly Route[]>;
}

/** Longer prefixes first. */
const subjects: readonly Subject[] = [
  {
    prefix: '/api/v1/contexts/archive',
    exact: true,
    load: async (parts) => (await import('./archive-contexts.ts')).archiveRoutes(parts),
  },
  { prefix: '/api/v1/contexts', load: async (parts) => (await import('./contexts.ts')).contextRoutes(parts) },
  { prefix: '/api/v1/builds', load: async (parts, trust) => (await import('./builds.ts')).buildRoutes(parts, trust) },
  { prefix: '/api/v1/blobs', load: async (parts) => (await import('./blobs.ts')).blobRoutes(parts) },
  { prefix: '/api/v1', exact: true, load: async (parts) => (await import('./about.ts')).aboutRoutes(parts) },
  { prefix: '/api/openapi.json', exact: true, load: async (parts) => (await import('./about.ts')).aboutRoutes(parts) },
  { prefix: '/api/v1/images/pull', exact: true, load: async (parts) => (await import('./transfer.ts')).transferRoutes(parts) },
  { prefix: '/api/v1/images/push', exact: true, load: async (parts) => (await import('./transfer.ts')).transferRoutes(parts) },
  { prefix: '/api/v1/transfers', load: async (parts) => (await import('./transfers.ts')).transfersRoutes(parts) },
  { prefix: '/api/v1/images', load: async (parts) => (await import('./images.ts')).imageRoutes(parts) },
];

/** Every route there is: for the document that describes them. */
export async function allRoutes(parts: ApiParts, trust: ApiTrust): Promise<readonly Route[]> {
  const loaded = await Promise.all(subjects.map((subject) => subject.load(parts, trust)));
  // Two subjects may be one module.
  return [...new Map(loaded.flat().map((one) => [`${one.method} ${one.path}`, one])).values()];
}

export function createApi(parts: ApiParts, trust: ApiTrust = { sameMachine: false }): ApiFetch {
  const loaded = new Map<Subject, Promise<readonly Route[]>>();
  return async (request) => {
    try {
      const access = await admit(request, trust.guard);
      const path = new URL(request.url).pathname;
      const subject = subjects.find((s) => path === s.prefix || (!s.exact && path.startsWith(`${s.prefix}/`)));
      if (subject === undefined) return await dispatch([], request, access);
      let routes = loaded.get(subject);
      if (routes === undefined) {
        routes = subject.load(parts, trust);
        loaded.set(subject, routes);
        // What could not be loaded now is tried again by the next request.
        routes.catch(() => loaded.delete(subject));
      }
      return await dispatch(await routes, request, access);
    } catch (error) {
      return refused(error, trust);
    }
  };
}

/** A refusal says what to log in with (RFC 9110 section 11.6.1). */
function refused(error: unknown, { guard }: ApiTrust): ApiResponse {
  const answer = errorResponse(error);
  if (guard === undefined || !isCode(error, 'UNAUTHORIZED')) return answer;
  return { ...answer, headers: { ...answer.headers, 'www-authenticate': challengeOf(guard, error) } };
}
