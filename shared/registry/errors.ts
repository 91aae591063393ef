// Every error the registry puts on the wire: the codes of OCI distribution-spec ("Error Codes") in one table, and the one place where
// the domain's errors become them. UNKNOWN and UNAVAILABLE are not in that list, which binds 4xx answers only; docker's registry uses
// them for 5xx.
import { type ErrorCode, SlipwayError } from '../errors.ts';
import { json, type Reply } from './exchange.ts';

interface Row {
  readonly status: number;
  /** Said when nothing better is known. */
  readonly message: string;
}

export const ociErrors = {
  BLOB_UNKNOWN: { status: 404, message: 'blob unknown to registry' },
  BLOB_UPLOAD_INVALID: { status: 400, message: 'blob upload invalid' },
  BLOB_UPLOAD_UNKNOWN: { status: 404, message: 'blob upload unknown to registry' },
  DIGEST_INVALID: { status: 400, message: 'provided digest did not match uploaded content' },
  MANIFEST_BLOB_UNKNOWN: { status: 404, message: 'manifest references a manifest or blob unknown to registry' },
  MANIFEST_INVALID: { status: 400, message: 'manifest invalid' },
  MANIFEST_UNKNOWN: { status: 404, message: 'manifest unknown to registry' },
  NAME_INVALID: { status: 400, message: 'invalid repository name' },
  NAME_UNKNOWN: { status: 404, message: 'repository name not known to registry' },
  SIZE_INVALID: { status: 400, message: 'provided length did not match content length' },
  UNAUTHORIZED: { status: 401, message: 'authentication required' },
  DENIED: { status: 403, message: 'requested access to the resource is denied' },
  UNSUPPORTED: { status: 405, message: 'the operation is unsupported' },
  TOOMANYREQUESTS: { status: 429, message: 'too many requests' },
  UNKNOWN: { status: 500, message: 'unknown error' },
  UNAVAILABLE: { status: 503, message: 'service unavailable' },
} as const satisfies Record<string, Row>;

export type OciCode = keyof typeof ociErrors;

interface Facts {
  readonly detail?: unknown;
  /** Where the spec asks for another status than the code's usual one (416, 413). */
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A refusal with its wire code, thrown inside the registry and nowhere else. */
export class OciError extends Error {
  readonly code: OciCode;
  readonly facts: Facts;

  constructor(code: OciCode, message?: string, facts: Facts = {}) {
    super(message ?? ociErrors[code].message);
    this.name = 'OciError';
    this.code = code;
    this.facts = facts;
  }
}

// What a domain error means to a registry client. One row for every code, so that a new one cannot be forgotten.
const wire: Readonly<Record<ErrorCode, { readonly code: OciCode; readonly status?: number }>> = {
  USAGE: { code: 'UNSUPPORTED', status: 400 },
  INVALID_REFERENCE: { code: 'NAME_INVALID' },
  INVALID_DIGEST: { code: 'DIGEST_INVALID' },
  INVALID_PLATFORM: { code: 'MANIFEST_INVALID' },
  INVALID_DOCUMENT: { code: 'MANIFEST_INVALID' },
  UNSUPPORTED: { code: 'UNSUPPORTED', status: 400 },
  NOT_FOUND: { code: 'NAME_UNKNOWN' },
  CONFLICT: { code: 'DENIED', status: 409 },
  TOO_LARGE: { code: 'SIZE_INVALID', status: 413 },
  DENIED: { code: 'DENIED' },
  UNAUTHORIZED: { code: 'UNAUTHORIZED' },
  DIGEST_MISMATCH: { code: 'DIGEST_INVALID' },
  SIZE_MISMATCH: { code: 'SIZE_INVALID' },
  UPLOAD_OFFSET: { code: 'BLOB_UPLOAD_INVALID', status: 416 },
  UPLOAD_UNKNOWN: { code: 'BLOB_UPLOAD_UNKNOWN' },
  INVALID_ARCHIVE: { code: 'MANIFEST_INVALID' },
  UNSAFE_PATH: { code: 'NAME_INVALID' },
  DOCKERFILE: { code: 'UNKNOWN' },
  CONTEXT: { code: 'UNKNOWN' },
  CONTEXT_CHANGED: { code: 'UNKNOWN' },
  STEP_FAILED: { code: 'UNKNOWN' },
  BUDGET: { code: 'UNKNOWN' },
  SANDBOX: { code: 'UNKNOWN' },
  SANDBOX_UNAVAILABLE: { code: 'UNKNOWN' },
  RUN_ENGINE: { code: 'UNKNOWN' },
  RUN_NOT_EXECUTABLE: { code: 'UNKNOWN' },
  RUN_NOT_FOUND: { code: 'UNKNOWN' },
  UPSTREAM: { code: 'UNAVAILABLE', status: 502 },
  TOO_MANY_REQUESTS: { code: 'TOOMANYREQUESTS' },
  STORE_CONFLICT: { code: 'UNAVAILABLE' },
  STORE: { code: 'UNKNOWN' },
  DISK_FULL: { code: 'UNAVAILABLE', status: 507 },
  CANCELLED: { code: 'UNAVAILABLE', status: 499 },
  INTERNAL: { code: 'UNKNOWN' },
};

/** The wire code of a domain error; undefined for a code the running table has not (an older bundle beside a newer store). */
const wireOf = (code: string): { readonly code: OciCode; readonly status?: number } | undefined =>
  (wire as Readonly<Record<string, { readonly code: OciCode; readonly status?: number }>>)[code];

/** True when the fault is ours and someone should be told. */
export const isFault = (reply: Reply): boolean => reply.status >= 500;

/**
 * The answer to a failed call. Faults of our own say nothing about the inside: only the request id, which the report (`onFault`) repeats.
 */
export function errorReply(error: unknown, requestId: () => string): Reply {
  if (error instanceof OciError) {
    const { detail, status, headers } = error.facts;
    return refusal(error.code, error.message, status ?? ociErrors[error.code].status, detail, headers);
  }
  if (error instanceof SlipwayError) {
    const row = wireOf(error.code) ?? wire.INTERNAL;
    const status = row.status ?? ociErrors[row.code].status;
    if (status < 500) return refusal(row.code, error.message, status, error.details, undefined);
    if (error.code === 'DISK_FULL') return refusal(row.code, "the registry's storage is full", status, undefined, undefined);
    if (row.code === 'UNAVAILABLE') return refusal(row.code, 'try again', status, undefined, { 'retry-after': '1' });
  }
  return refusal('UNKNOWN', `the registry failed; request ${requestId()}`, 500, undefined, undefined);
}

const refusal = (
  code: OciCode,
  message: string,
  status: number,
  detail: unknown,
  headers: Record<string, string> | undefined,
): Reply => json(status, { errors: [{ code, message, ...(detail === undefined ? {} : { detail }) }] }, headers);
