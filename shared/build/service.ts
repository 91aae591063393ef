// What drives builds in a home: in the embedded one a loop in this process (local/), in an account Step Functions.
import type { Cost } from '../cost/cost.ts';
import type { Usage } from '../cost/usage.ts';
import type { Bytes } from '../store/blobs.ts';
import type { BuildRecord } from './build-records.ts';
import type { BuildRequest } from './request.ts';
import type { NumberedEvent } from './stored-log.ts';

export interface BuildDetails extends BuildRecord {
  /** What all its parts used so far. Absent where nothing is charged for. */
  readonly usage?: Usage;
  /** What that costs, estimated. */
  readonly cost?: Cost;
}

export interface FollowOptions {
  /** Number of the last event seen; 0 for none. */
  readonly after?: number;
  readonly signal?: AbortSignal;
}

export interface StartOptions {
  /** Of the client's choice: the same one starts nothing twice. */
  readonly clientToken?: string;
  /** Who starts it. */
  readonly by?: string;
  /** The repositories whose images it may read; all of them without it. */
  readonly reads?: readonly string[];
}

export interface BuildService {
  /** Checks the request as far as it can without working, starts it, and answers its id. The same `clientToken` starts nothing twice. */
  start(request: BuildRequest, options?: StartOptions): Promise<string>;
  /** Newest first. `after`: the id of the last one of the page before. */
  list(page: { readonly after?: string; readonly limit: number }): Promise<readonly BuildRecord[]>;
  /** NOT_FOUND for an unknown id. `cost: false`: without what it used, which takes asking. */
  get(id: string, options?: { readonly cost?: boolean }): Promise<BuildDetails>;
  /**
   * The events after a number; follows a build that is running, to its last event (`result` or `error`). NOT_FOUND for an unknown id.
   * Ends early when it has to (a time limit of where it runs, the signal): go on after the last number.
   */
  events(id: string, options?: FollowOptions): AsyncIterable<NumberedEvent>;
  /** The events after a number that are there now, at most `limit`. */
  page(id: string, page: { readonly after: number; readonly limit: number }): Promise<readonly NumberedEvent[]>;
  /** Stops it within seconds; its last event is then an `error` with code CANCELLED. No error when it has ended. */
  cancel(id: string): Promise<void>;
}

export interface ReceivedContext {
  readonly id: string;
  /** Where it is kept; without it, in the process that received it. */
  readonly project?: string;
  /** The Dockerfile that came with it. */
  readonly dockerfile: { readonly name: string; readonly text: string };
}

export interface ReceiveOptions {
  /** Its path in the archive. */
  readonly dockerfile?: string | undefined;
  /** Where the context is kept, in a home that keeps contexts. */
  readonly project?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Contexts that travel to the home. */
export interface ContextService {
  /** A tar in any compression, or a lone Dockerfile (then the context is empty). */
  receive(body: Bytes, options: ReceiveOptions): Promise<ReceivedContext>;
}
