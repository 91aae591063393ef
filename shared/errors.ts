// Every error a person or a client can meet has a stable code from this one table. HTTP status and exit code are derived from it
// at the edge (registry, api, cli), never chosen where the error is thrown.

/** A place in a file: lines count from 1, columns from 1; `end` is inclusive. */
export interface SourceRange {
  readonly file: string;
  readonly start: { readonly line: number; readonly column: number };
  readonly end: { readonly line: number; readonly column: number };
}

interface Row {
  /** HTTP status at an HTTP edge. */
  readonly status: number;
  /** Exit code of the command line. */
  readonly exit: number;
}

const row = (status: number, exit = 1): Row => ({ status, exit });

export const errorTable = {
  // what was asked for
  USAGE: row(400),
  INVALID_REFERENCE: row(400),
  INVALID_DIGEST: row(400),
  INVALID_PLATFORM: row(400),
  INVALID_DOCUMENT: row(400),
  UNSUPPORTED: row(400),
  NOT_FOUND: row(404),
  CONFLICT: row(409),
  TOO_LARGE: row(413),
  DENIED: row(403),
  UNAUTHORIZED: row(401),
  // bytes
  DIGEST_MISMATCH: row(400),
  SIZE_MISMATCH: row(400),
  UPLOAD_OFFSET: row(416),
  UPLOAD_UNKNOWN: row(404),
  INVALID_ARCHIVE: row(400),
  UNSAFE_PATH: row(400),
  // build
  DOCKERFILE: row(400),
  CONTEXT: row(400),
  CONTEXT_CHANGED: row(409),
  STEP_FAILED: row(422),
  BUDGET: row(402),
  SANDBOX: row(500),
  SANDBOX_UNAVAILABLE: row(501),
  // run: docker's own codes
  RUN_ENGINE: row(500, 125),
  RUN_NOT_EXECUTABLE: row(500, 126),
  RUN_NOT_FOUND: row(500, 127),
  // other registries
  UPSTREAM: row(502),
  TOO_MANY_REQUESTS: row(429),
  // storage and the machine
  STORE_CONFLICT: row(409),
  STORE: row(500),
  DISK_FULL: row(507),
  CANCELLED: row(499, 130),
  INTERNAL: row(500),
} as const satisfies Record<string, Row>;

export type ErrorCode = keyof typeof errorTable;

export interface ErrorFacts {
  /** Where in the user's own file, if it is about one. */
  readonly where?: SourceRange;
  /** What to do next, one sentence. */
  readonly hint?: string;
  /** Facts for programs; JSON. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** The one error type of the domain. Match on `code`, never on the message. */
export class SlipwayError extends Error {
  readonly code: ErrorCode;
  readonly where: SourceRange | undefined;
  readonly hint: string | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = 'SlipwayError';
    this.code = code;
    this.where = facts.where;
    this.hint = facts.hint;
    this.details = facts.details;
  }

  get status(): number {
    return errorTable[this.code].status;
  }

  get exit(): number {
    return errorTable[this.code].exit;
  }
}

export const isCode = (error: unknown, ...codes: readonly ErrorCode[]): error is SlipwayError =>
  error instanceof SlipwayError && codes.includes(error.code);

/** The errno name (`ENOENT`, ...) of a system error, or undefined. Errors of ours have a code too, but it is none. */
export const errnoOf = (error: unknown): string | undefined =>
  error instanceof Error && !(error instanceof SlipwayError) && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined;

/** Throws CANCELLED if the signal has fired. */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new SlipwayError('CANCELLED', 'cancelled', { cause: signal.reason });
}

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorTable, code);

/** An error as JSON: in an answer of the API, at the end of a stream of events. */
export interface ErrorDocument {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly where?: SourceRange;
  readonly details?: Readonly<Record<string, unknown>>;
}

export const errorDocument = (error: SlipwayError): ErrorDocument => ({
  code: error.code,
  message: error.message,
  ...(error.hint === undefined ? {} : { hint: error.hint }),
  ...(error.where === undefined ? {} : { where: error.where }),
  ...(error.details === undefined ? {} : { details: error.details }),
});
