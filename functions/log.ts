// Lines for CloudWatch Logs: one JSON object each. Faults only, and nothing of a caller's secrets.
import { SlipwayError } from '../shared/errors.ts';
import type { Call } from '../shared/registry/exchange.ts';

export interface Fault {
  readonly requestId: string;
  readonly call: Call;
  readonly error: unknown;
}

export function logFault({ requestId, call, error }: Fault): void {
  // The path and not the query: a query may hold what only its sender should know.
  writeLine({ level: 'error', requestId, method: call.method, path: call.path, error: shown(error) });
}

/** What a build used could not be kept: its numbers are too low, the build itself is not touched. */
export function logUncounted(what: { readonly function: string; readonly build: string; readonly error: unknown }): void {
  writeLine({ level: 'warn', ...what, error: shown(what.error) });
}

function shown(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return String(error);
  return {
    name: error.name,
    ...(error instanceof SlipwayError ? { code: error.code } : {}),
    message: error.message,
    stack: error.stack,
    ...(error.cause === undefined || depth > 4 ? {} : { cause: shown(error.cause, depth + 1) }),
  };
}

export const writeLine = (line: object): boolean => process.stderr.write(`${JSON.stringify(line)}\n`);
