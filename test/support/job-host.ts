// The home's job routes on a real port, with what waits for jobs: what API Gateway, the jobs function and Step Functions' task tokens are
// in an account.
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ApiRequest } from '../../shared/api/http.ts';
import { createJobApi } from '../../shared/api/jobs.ts';
import type { JobTicket } from '../../shared/workflow/job.ts';
import { JobService, type JobSignals } from '../../shared/workflow/job-service.ts';
import { Launcher, type Machines } from '../../shared/workflow/launcher.ts';
import type { AccountHome } from './account-home.ts';
import { breakable, noFaults } from './faulty.ts';
import { homePorts } from './machine.ts';

export interface JobHost extends AsyncDisposable {
  readonly origin: string;
  readonly key: Uint8Array;
  /** `METHOD path` of every call. */
  readonly calls: string[];
  /** Tokens whose holders are cut off from the home: their calls come through to nobody. */
  readonly cut: Set<string>;
  /** Sees each call first: may answer instead of the routes, or cut its sender off, before or after the call is carried out. */
  hook: ((path: string, token: string) => number | 'cut' | 'cut after' | undefined) | undefined;
  jobs(): JobService;
  launcher(machines?: Machines): Launcher;
  /** Opens the next attempt at a stage; what executes it is the caller's affair. */
  open(build: string, stage: number, waiter?: string): Promise<{ readonly ticket: JobTicket; readonly waiter: string }>;
  /** What `fetch` says; the body as JSON. */
  ask(
    ticket: JobTicket,
    name: string,
    body?: unknown,
  ): Promise<{ readonly status: number; readonly body: Record<string, unknown> }>;
  /**
   * Resolves when the job's runner says it has done, rejects when it says it failed, or was not heard of for `silence` ms of those in which
   * this process was awake.
   */
  wait(waiter: string, silence?: number): Promise<void>;
}

interface Waiter {
  /** Milliseconds without a sign of life. */
  silent: number;
  state: 'open' | 'done' | { readonly code: string; readonly message: string };
}

const signalWrites = new Set(['done', 'failed']);

/** `given`: told instead of who waits by `wait`. `faults`: what breaks in telling. */
export async function jobHost(home: AccountHome, given?: JobSignals, faults = noFaults()): Promise<JobHost> {
  const key = randomBytes(32);
  const waiters = new Map<string, Waiter>();
  const waiter = (token: string): Waiter => {
    const known = waiters.get(token) ?? { silent: 0, state: 'open' };
    waiters.set(token, known);
    return known;
  };
  const settle = (token: string, state: Waiter['state']): void => {
    const known = waiter(token);
    if (known.state === 'open') known.state = state;
  };
  const signals: JobSignals = given ?? {
    async alive(token) {
      waiter(token).silent = 0;
      return waiter(token).state === 'open';
    },
    done: async (token) => settle(token, 'done'),
    failed: async (token, code, message) => settle(token, { code, message }),
  };
  // Each call is answered by a process that has just started.
  const jobs = (ports = home.fresh()) =>
    new JobService({ ...ports, signals: breakable(signals, 'tasks', signalWrites, faults, ports.process) });
  const nothing: Machines = {
    start: async (_platform, _ticket, name) => name,
    find: async () => undefined,
    stop: async () => undefined,
  };
  const calls: string[] = [];
  const cut = new Set<string>();
  const server = createServer((request, response) => {
    const answer = async (): Promise<void> => {
      const path = request.url ?? '/';
      const token = request.headers.authorization?.slice('Bearer '.length) ?? '';
      if (cut.has(token)) return void response.destroy();
      calls.push(`${request.method} ${path}`);
      const spoiled = host.hook?.(path, token);
      if (typeof spoiled === 'string') cut.add(token);
      if (spoiled === 'cut') return void response.destroy();
      if (typeof spoiled === 'number') {
        for await (const _ of request);
        return void response.writeHead(spoiled).end('{}');
      }
      const asked: ApiRequest = {
        method: request.method ?? 'GET',
        url: `http://home${path}`,
        headers: { get: (name) => (request.headers[name] as string | undefined) ?? null },
        body: request,
      };
      const ports = home.fresh();
      const { status, headers, body } = await createJobApi({ jobs: jobs(ports), key, clock: Date.now })(asked);
      // As API Gateway says it of a function that died.
      if (spoiled === 'cut after') return void response.destroy();
      if (ports.process.dead) return void response.writeHead(502).end('{"message":"Internal server error"}');
      response.writeHead(status, headers).end(body as Uint8Array);
    };
    answer().catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  homePorts.add(port);
  const origin = `http://127.0.0.1:${port}`;
  let count = 0;
  const host: JobHost = {
    origin,
    key,
    calls,
    cut,
    hook: undefined,
    jobs: () => jobs(),
    launcher: (machines = nothing) => new Launcher({ ...home.fresh(), machines, key, url: origin }),
    async open(build, stage, name) {
      count += 1;
      const token = name ?? `waiter-${count}`;
      const { ticket } = await host.launcher().start(build, stage, 'linux/amd64', token);
      waiter(token).silent = 0;
      return { waiter: token, ticket };
    },
    async ask(ticket, name, body = {}) {
      const answer = await fetch(`${ticket.url}/${name}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${ticket.token}` },
        body: JSON.stringify(body),
      });
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
    },
    async wait(token, silence = 20_000) {
      for (;;) {
        const waiting = waiter(token);
        const { state } = waiting;
        if (state === 'done') return;
        if (state !== 'open') throw new Error(`${state.code}: ${state.message}`);
        if (waiting.silent > silence) throw new Error('States.HeartbeatTimeout');
        await new Promise((resolve) => setTimeout(resolve, 10));
        waiting.silent += 10;
      }
    },
    async [Symbol.asyncDispose]() {
      homePorts.delete(port);
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
  return host;
}
