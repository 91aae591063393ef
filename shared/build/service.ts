// What drives builds in a home: in the embedded one a loop in this process (local/workflow.ts), in an account Step Functions.
import type { Bytes } from '../store/blobs.ts';
import type { BuildEvent } from './events.ts';
import type { BuildRequest } from './request.ts';

export interface BuildService {
  /** Checks the request as far as it can without working, starts it, and answers its id. */
  start(request: BuildRequest): Promise<string>;
  /** The events from the first one on, to the last; follows a build that is running. NOT_FOUND for an unknown id. */
  events(id: string): AsyncIterable<BuildEvent>;
  /** Stops it within seconds; its last event is then an `error` with code CANCELLED. No error when it has ended. */
  cancel(id: string): Promise<void>;
}

export interface ReceivedContext {
  readonly id: string;
  /** The Dockerfile that came with it. */
  readonly dockerfile: { readonly name: string; readonly text: string };
}

/** Contexts that travel to the home. */
export interface ContextService {
  /** A tar in any compression, or a lone Dockerfile (then the context is empty). `dockerfile`: its path in the archive. */
  receive(body: Bytes, dockerfile: string | undefined, signal?: AbortSignal): Promise<ReceivedContext>;
}
