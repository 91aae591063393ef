// Transfers that outlive the request that asked for them: started, then followed by the numbers of their events.
import type { FollowOptions } from '../build/service.ts';
import type { TransferEvent } from '../client/transfer-events.ts';
import type { ErrorDocument } from '../errors.ts';
import type { Login, TransferRequest, Verb } from './transfer.ts';

export type TransferState = 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled';

/** All times in milliseconds since 1970. */
export interface TransferFacts extends TransferRequest {
  readonly id: string;
  readonly verb: Verb;
  readonly state: TransferState;
  readonly created: number;
  readonly started?: number;
  readonly ended?: number;
  /** When somebody asked for it to stop. */
  readonly cancelRequested?: number;
  /** Who started it. */
  readonly by?: string;
  readonly failure?: ErrorDocument;
}

/** The last event is `done` or `failed`. */
export type FollowedEvent = TransferEvent | { readonly kind: 'failed'; readonly failure: ErrorDocument };

export type NumberedTransferEvent = FollowedEvent & {
  /** Counts from 1 without gaps. */
  readonly number: number;
};

export interface StartTransfer {
  /** Of the client's choice: the same one starts nothing twice. */
  readonly clientToken?: string;
  /** Who starts it. */
  readonly by?: string;
  /** The repositories that this one may pull from, the transfer's own among them; all of them without it. */
  readonly reads?: readonly string[];
  /** For the other registry; not kept. */
  readonly login: Login;
}

export interface TransferService {
  /** Keeps it, has it begun elsewhere, and answers its id. */
  start(verb: Verb, request: TransferRequest, options: StartTransfer): Promise<string>;
  /** NOT_FOUND for an unknown id. One whose runner has died has failed. */
  get(id: string): Promise<TransferFacts>;
  /** The events after a number, to the last; ends early when it has to: go on after the last number. NOT_FOUND for an unknown id. */
  events(id: string, options?: FollowOptions): AsyncIterable<NumberedTransferEvent>;
  /** Stops it within seconds. No error when it has ended. NOT_FOUND for an unknown id. */
  cancel(id: string): Promise<void>;
}

export const hasEnded = (state: TransferState): boolean => state !== 'queued' && state !== 'running';

export const isLast = ({ kind }: FollowedEvent): boolean => kind === 'done' || kind === 'failed';
