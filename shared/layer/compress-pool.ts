// The threads that make members. Started when the first job comes, shared by all writers of a process, gone when disposed.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, SlipwayError } from '../errors.ts';
import type { MemberJob, MemberResult } from './member.ts';

export interface Answer {
  readonly id: number;
  readonly result?: MemberResult;
  readonly failure?: {
    readonly code?: ErrorCode;
    readonly message: string;
    readonly hint?: string | undefined;
    readonly details?: Readonly<Record<string, unknown>> | undefined;
    readonly cause?: unknown;
  };
}

interface Waiting {
  readonly resolve: (result: MemberResult) => void;
  readonly reject: (error: unknown) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly jobs: Map<number, Waiting>;
}

/** Each thread is given its next job before it has finished the one at hand. */
const jobsPerThread = 2;

export class CompressPool implements AsyncDisposable {
  /** Threads at most. */
  readonly size: number;
  readonly #threads: Thread[] = [];
  readonly #queue: { readonly job: MemberJob; readonly waiting: Waiting }[] = [];
  readonly #spare: ArrayBuffer[] = [];
  #nextId = 0;
  #closed = false;

  constructor(size = availableParallelism()) {
    this.size = Math.max(1, size);
  }

  get started(): boolean {
    return this.#threads.length > 0;
  }

  /** Starts the threads before there is work for them. */
  warm(): void {
    while (!this.#closed && this.#threads.length < this.size) this.#start();
  }

  /** How many members one writer should keep under way, so that no thread waits and memory stays bounded. */
  get window(): number {
    return Math.min(this.size, 16) * jobsPerThread + 2;
  }

  /** A buffer of at least `length` bytes, with anything in it. Give it back with `release`. */
  buffer(length: number): ArrayBuffer {
    const index = this.#spare.findIndex((spare) => spare.byteLength >= length);
    if (index >= 0) return this.#spare.splice(index, 1)[0]!;
    return Buffer.allocUnsafeSlow(length).buffer as ArrayBuffer;
  }

  release(buffer: ArrayBuffer): void {
    if (buffer.byteLength > 0 && this.#spare.length < 2 * this.window) this.#spare.push(buffer);
  }

  /** Makes the member in a thread; `job.raw` and `job.room` are away until then. */
  run(job: MemberJob): Promise<MemberResult> {
    if (this.#closed) return Promise.reject(new SlipwayError('INTERNAL', 'the compression pool is closed'));
    return new Promise((resolve, reject) => {
      this.#queue.push({ job, waiting: { resolve, reject } });
      this.#feed();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#spare.length = 0;
    await Promise.all(this.#threads.splice(0).map(({ worker }) => worker.terminate()));
  }

  #feed(): void {
    while (this.#queue.length > 0) {
      let least = this.#threads[0];
      for (const thread of this.#threads) if (thread.jobs.size < least!.jobs.size) least = thread;
      if ((least === undefined || least.jobs.size > 0) && this.#threads.length < this.size) least = this.#start();
      if (least === undefined || least.jobs.size >= jobsPerThread) return;
      const { job, waiting } = this.#queue.shift()!;
      const id = this.#nextId++;
      if (least.jobs.size === 0) least.worker.ref();
      least.jobs.set(id, waiting);
      least.worker.postMessage({ id, job }, [job.raw, job.room]);
    }
  }

  #start(): Thread {
    const file = import.meta.url.endsWith('.ts') ? './compress-worker.ts' : './compress-worker.js';
    // What a thread leaves to the garbage collector is mostly outside V8's heap, which therefore sees no reason to collect: a small
    // young generation makes it look more often.
    const worker = new Worker(new URL(file, import.meta.url), { resourceLimits: { maxYoungGenerationSizeMb: 2 } });
    const thread: Thread = { worker, jobs: new Map() };
    worker.on('message', (answer: Answer) => {
      const waiting = thread.jobs.get(answer.id);
      thread.jobs.delete(answer.id);
      // An idle thread does not keep the process alive.
      if (thread.jobs.size === 0) worker.unref();
      if (answer.result !== undefined) waiting?.resolve(answer.result);
      else waiting?.reject(errorOf(answer.failure));
      this.#feed();
    });
    const lost = (error: unknown) => {
      const index = this.#threads.indexOf(thread);
      if (index >= 0) this.#threads.splice(index, 1);
      for (const { reject } of thread.jobs.values())
        reject(new SlipwayError('INTERNAL', 'a compression thread died', { cause: error }));
      thread.jobs.clear();
      if (!this.#closed) this.#feed();
    };
    worker.on('error', lost);
    worker.on('exit', lost);
    worker.unref();
    this.#threads.push(thread);
    return thread;
  }
}

function errorOf(failure: Answer['failure']): Error {
  if (failure?.code === undefined)
    return new SlipwayError('INTERNAL', `a compression thread failed: ${failure?.message ?? 'no answer'}`);
  const { code, message, hint, details, cause } = failure;
  return new SlipwayError(code, message, {
    ...(hint !== undefined && { hint }),
    ...(details !== undefined && { details }),
    ...(cause !== undefined && { cause }),
  });
}
