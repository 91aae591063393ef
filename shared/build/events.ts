// What a build tells while it runs: one event a line, in order. The same events are followed live, kept, and replayed.
import { type ErrorDocument, isCode } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { Warning } from './plan.ts';

export type BuildEvent =
  /** `id` counts from 1 in order of start and is what later events of the step name. `at` is milliseconds since 1970. */
  | { readonly type: 'started'; readonly id: number; readonly name: string; readonly at: number }
  | {
      readonly type: 'log';
      readonly id: number;
      readonly stream: 'stdout' | 'stderr';
      readonly text: string;
      readonly at: number;
    }
  /** A finer line below the step, e.g. what is being exported. */
  | { readonly type: 'note'; readonly id: number; readonly text: string; readonly at: number }
  | { readonly type: 'done'; readonly id: number; readonly at: number; readonly cached?: true }
  | { readonly type: 'failed'; readonly id: number; readonly at: number; readonly message: string }
  /** It was stopped: by its caller, or because another step failed. */
  | { readonly type: 'cancelled'; readonly id: number; readonly at: number }
  | { readonly type: 'warning'; readonly warning: Warning }
  /** The last event of a build that went well. */
  | { readonly type: 'result'; readonly digest: Digest; readonly tags: readonly string[]; readonly at: number }
  /** The last event of one that did not. */
  | { readonly type: 'error'; readonly failure: ErrorDocument; readonly at: number };

export interface StepLog {
  start(name: string): StepReport;
  warning(warning: Warning): void;
}

export interface StepReport {
  readonly id: number;
  /** Resolves when there is room for more. */
  output(stream: 'stdout' | 'stderr', text: string): void | Promise<void>;
  note(text: string): void;
  done(cached?: boolean): void;
  /** Ends the step: CANCELLED as stopped, anything else as failed. */
  failed(error: unknown): void;
}

/** A log that hands every event to `emit`. */
export function eventLog(emit: (event: BuildEvent) => void | Promise<void>, clock: () => number): StepLog {
  let next = 0;
  return {
    start(name) {
      next += 1;
      const id = next;
      void emit({ type: 'started', id, name, at: clock() });
      return {
        id,
        output: (stream, text) => emit({ type: 'log', id, stream, text, at: clock() }),
        note: (text) => void emit({ type: 'note', id, text, at: clock() }),
        done: (cached) => void emit({ type: 'done', id, at: clock(), ...(cached ? { cached: true as const } : {}) }),
        failed: (error) =>
          void emit(
            isCode(error, 'CANCELLED')
              ? { type: 'cancelled', id, at: clock() }
              : { type: 'failed', id, at: clock(), message: error instanceof Error ? error.message : String(error) },
          ),
      };
    },
    warning: (warning) => void emit({ type: 'warning', warning }),
  };
}
