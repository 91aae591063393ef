// A runner as a server: the hooks that Lambda MicroVMs calls (lifecycle of a MicroVM). A hook has at most a minute, so `run` accepts the
// job and answers; the job goes on behind it. Hooks may be called twice: each is idempotent.
import * as z from 'zod/mini';
import { type JobTicket, jobTicket } from './job.ts';

export const hookPrefix = '/aws/lambda-microvms/runtime/v1/';

export interface HookAnswer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

export interface HookOptions {
  /** Whether this machine can execute jobs; asked until it answers yes, before a snapshot is taken. */
  readonly ready: () => Promise<boolean>;
  /** Executes a job; never rejects. */
  readonly run: (ticket: JobTicket, signal: AbortSignal) => Promise<void>;
  /** Told when a job has ended. */
  readonly ended?: () => void;
  /** Told when the machine is to go; what it waits for is the answer to the hook. */
  readonly stopped?: () => void;
  /** Milliseconds that `terminate` waits for the job's end: less than the hook may take. */
  readonly farewell?: number;
}

const usualFarewell = 20_000;

/** What a `run` hook is given: the names of its members are not documented exactly, so the ticket is looked for. */
export function ticketOf(body: unknown): JobTicket | undefined {
  const direct = z.safeParse(jobTicket, body);
  if (direct.success) return direct.data;
  if (typeof body !== 'object' || body === null) return undefined;
  for (const value of Object.values(body)) {
    const inner = typeof value === 'string' && value.startsWith('{') ? parsed(value) : value;
    const found = z.safeParse(jobTicket, inner);
    if (found.success) return found.data;
  }
  return undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export class RunHooks {
  readonly #options: HookOptions;
  readonly #stop = new AbortController();
  #taken: JobTicket | undefined;
  #job: Promise<void> | undefined;

  constructor(options: HookOptions) {
    this.#options = options;
  }

  /** `name`: the last part of the hook's path. Answers tell nothing of the job. */
  async handle(name: string, body: unknown): Promise<HookAnswer> {
    switch (name) {
      case 'ready':
      case 'validate':
        return { status: (await this.#options.ready()) ? 200 : 503, body: {} };
      case 'run':
        return this.#run(body);
      case 'resume':
      case 'suspend':
        return { status: 200, body: {} };
      case 'terminate':
        await this.stop();
        this.#options.stopped?.();
        return { status: 200, body: {} };
      default:
        return { status: 404, body: {} };
    }
  }

  /** Ends the job and waits until its processes are gone and the home was told, but not for ever. */
  async stop(): Promise<void> {
    this.#stop.abort();
    let late: NodeJS.Timeout | undefined;
    const enough = new Promise<void>((resolve) => {
      late = setTimeout(resolve, this.#options.farewell ?? usualFarewell);
    });
    await Promise.race([this.#job, enough]);
    clearTimeout(late);
  }

  #run(body: unknown): HookAnswer {
    const ticket = ticketOf(body);
    if (ticket === undefined) return { status: 400, body: { message: 'there is no job in the payload' } };
    if (this.#stop.signal.aborted) return { status: 409, body: {} };
    if (this.#taken !== undefined) {
      const same = this.#taken.token === ticket.token && this.#taken.url === ticket.url;
      return { status: same ? 200 : 409, body: {} };
    }
    this.#taken = ticket;
    this.#job = this.#options.run(ticket, this.#stop.signal);
    void this.#job.then(() => this.#options.ended?.());
    return { status: 200, body: {} };
  }
}
