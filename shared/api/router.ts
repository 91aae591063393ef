// Routes of the control API: a method, a pattern, a handler. `:name` matches one path segment, `:name+` one or more (repository names
// have slashes, and gateways decode %2F on the way). First match wins.
import { SlipwayError } from '../errors.ts';
import type { Access } from './access.ts';
import type { ApiRequest, ApiResponse } from './http.ts';

export interface Call {
  readonly request: ApiRequest;
  /** Decoded path parameters. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly access: Access;
}

export type Handler = (call: Call) => Promise<ApiResponse> | ApiResponse;

export interface Route {
  readonly method: string;
  /** As given, e.g. `/api/v1/builds/:id`. */
  readonly path: string;
  readonly pattern: RegExp;
  readonly handler: Handler;
}

export function route(method: string, path: string, handler: Handler): Route {
  const source = path
    .replace(/[.]/g, '\\.')
    .replace(/:([a-zA-Z]+)(\+?)/g, (_, name: string, greedy: string) => `(?<${name}>${greedy ? '.+' : '[^/]+'})`);
  return { method, path, pattern: new RegExp(`^${source}$`), handler };
}

export async function dispatch(routes: readonly Route[], request: ApiRequest, access: Access): Promise<ApiResponse> {
  const url = new URL(request.url);
  const allowed: string[] = [];
  for (const candidate of routes) {
    const match = candidate.pattern.exec(url.pathname);
    if (match === null) continue;
    if (candidate.method !== request.method) {
      allowed.push(candidate.method);
      continue;
    }
    const params: Record<string, string> = {};
    for (const [name, value] of Object.entries(match.groups ?? {})) params[name] = decode(value);
    return candidate.handler({ request, params, query: url.searchParams, access });
  }
  if (allowed.length > 0) {
    throw new SlipwayError('USAGE', `${request.method} is not allowed on ${url.pathname}; it takes ${allowed.join(', ')}`);
  }
  throw new SlipwayError('NOT_FOUND', `there is nothing at ${url.pathname}`);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new SlipwayError('USAGE', `the path part "${text.slice(0, 100)}" is not percent-encoded UTF-8`, { cause });
  }
}
