// The control planes of Lambda MicroVMs and of CodeBuild over HTTP, as the SDKs speak to them, with the fakes of their data planes behind:
// no emulator has machines. The local stage's functions are led here by AWS_ENDPOINT_URL_LAMBDA_MICROVMS and AWS_ENDPOINT_URL_CODEBUILD.
// What the services check of a request is checked here, too.
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { JobTicket } from '../../shared/workflow/job.ts';
import { runFakeCodebuild } from './fake-codebuild.ts';
import { endedInTime, type FakeMicrovm, type FakeRunner, type FakeRunnerOptions, runFakeMicrovm } from './fake-microvm.ts';

export interface FakeRunnerPlane extends AsyncDisposable {
  readonly url: string;
  /** What was started, in order. */
  readonly started: readonly StartedRunner[];
}

export interface StartedRunner {
  readonly kind: 'microvm' | 'codebuild';
  readonly id: string;
  /** Its image's ARN, or its project's name. */
  readonly of: string;
  /** Once it runs. */
  readonly runner: Promise<FakeRunner>;
  /** Somebody asked for its end. */
  stopped: boolean;
  over: boolean;
}

export interface FakeRunnerPlaneOptions {
  /** 0 takes any free one. */
  readonly port?: number;
  /** Ports of this machine's loopback that are the machines' too: where the home and its bucket are. */
  readonly out: readonly number[];
}

type Document = Readonly<Record<string, unknown>>;

/** What the service refuses a request with. */
class Refused extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, message: string, status = 400) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

interface Variable {
  readonly name: string;
  readonly value: string;
  readonly type: string;
}

const microvmPath = '/2025-09-09/microvms';

export async function startFakeRunnerPlane({ port = 0, out }: FakeRunnerPlaneOptions): Promise<FakeRunnerPlane> {
  const started: StartedRunner[] = [];
  const options: FakeRunnerOptions = { out };
  const variablesOf = new Map<string, readonly Variable[]>();
  const byToken = new Map<string, { readonly request: string; readonly id: string }>();

  const begin = (kind: StartedRunner['kind'], id: string, of: string, runner: Promise<FakeRunner>, ticket: string): void => {
    const one: StartedRunner = { kind, id, of, runner, stopped: false, over: false };
    runner.then(
      ({ ended }) => ended.then(() => (one.over = true)),
      (error: unknown) => {
        one.over = true;
        excuse(ticket, error).catch((cause: unknown) => process.stderr.write(`runner ${id}: ${String(cause)}\n`));
      },
    );
    started.push(one);
  };
  /** The same token with the same words answers the same; with others it is refused. */
  const once = (token: unknown, request: string, start: () => string): string => {
    if (typeof token !== 'string') throw new Refused('ValidationException', 'no client token');
    const known = byToken.get(token);
    if (known !== undefined && known.request !== request)
      throw new Refused('ConflictException', 'another request has this token', 409);
    const id = known?.id ?? start();
    byToken.set(token, { request, id });
    return id;
  };
  const stateOf = ({ over, stopped }: StartedRunner): string => (over ? (stopped ? 'STOPPED' : 'SUCCEEDED') : 'IN_PROGRESS');
  const buildOf = (one: StartedRunner): Document => ({
    id: one.id,
    arn: `arn:aws:codebuild:us-east-1:000000000000:build/${one.id}`,
    projectName: one.of,
    buildStatus: stateOf(one),
    environment: { environmentVariables: variablesOf.get(one.id) ?? [] },
  });
  const find = (id: unknown): StartedRunner => {
    const found = started.find((one) => one.id === id);
    if (found === undefined) throw new Refused('ResourceNotFoundException', `there is no ${String(id)}`, 404);
    return found;
  };

  const codebuild: Readonly<Record<string, (asked: Document) => Document | Promise<Document>>> = {
    StartBuild({ projectName, idempotencyToken, environmentVariablesOverride = [] }) {
      const variables = environmentVariablesOverride as readonly Variable[];
      const id = once(idempotencyToken, JSON.stringify([projectName, variables]), () => {
        const build = `${String(projectName)}:${randomUUID()}`;
        variablesOf.set(build, variables);
        const values = Object.fromEntries(variables.map(({ name, value }) => [name, value]));
        begin('codebuild', build, String(projectName), runFakeCodebuild(values, options), values.SLIPWAY_JOB ?? '');
        return build;
      });
      return { build: buildOf(find(id)) };
    },
    BatchGetBuilds: ({ ids }) => ({ builds: started.filter(({ id }) => (ids as string[]).includes(id)).map(buildOf) }),
    ListBuildsForProject: ({ projectName }) => ({
      ids: started
        .filter(({ kind, of }) => kind === 'codebuild' && of === projectName)
        .map(({ id }) => id)
        .reverse(),
    }),
    async StopBuild({ id }) {
      const one = find(id);
      if (!one.over) await end(one);
      return { build: buildOf(one) };
    },
  };

  async function microvms(method: string, path: string, asked: Document): Promise<Document> {
    if (method === 'POST' && path === microvmPath) {
      const { imageIdentifier, executionRoleArn, idlePolicy, runHookPayload = '', clientToken, maximumDurationInSeconds } = asked;
      if (typeof imageIdentifier !== 'string' || !imageIdentifier.startsWith('arn:'))
        throw new Refused('ValidationException', 'imageIdentifier is no ARN');
      if (typeof maximumDurationInSeconds !== 'number' || maximumDurationInSeconds > 28_800)
        throw new Refused('ValidationException', 'maximumDurationInSeconds');
      // What the stack promises: no role, and no sleep.
      if (executionRoleArn !== undefined || idlePolicy !== undefined) throw new Refused('AccessDeniedException', 'a role', 403);
      const id = once(clientToken, JSON.stringify([imageIdentifier, runHookPayload]), () => {
        const microvm = `microvm-${randomUUID()}`;
        begin('microvm', microvm, imageIdentifier, runFakeMicrovm(String(runHookPayload), options), String(runHookPayload));
        return microvm;
      });
      return {
        microvmId: id,
        state: 'PENDING',
        endpoint: 'https://microvm.invalid',
        imageArn: imageIdentifier,
        imageVersion: '1.0',
      };
    }
    const [, id] = /^\/2025-09-09\/microvms\/([^/]+)$/.exec(path) ?? [];
    if (method !== 'DELETE' || id === undefined) throw new Refused('ValidationException', `${method} ${path} is not faked`);
    const one = find(decodeURIComponent(id));
    if (!one.over) await end(one);
    return {};
  }

  const server: Server = createServer((request, response) => {
    const answer = async (): Promise<Document> => {
      const asked = JSON.parse((await textOf(request)) || '{}') as Document;
      const [, action] = /^CodeBuild_20161006\.(\w+)$/.exec(String(request.headers['x-amz-target'] ?? '')) ?? [];
      const path = new URL(request.url ?? '/', 'http://plane').pathname;
      if (action === undefined) return microvms(request.method ?? '', path, asked);
      const does = codebuild[action];
      if (does === undefined) throw new Refused('InvalidInputException', `${action} is not faked`);
      return does(asked);
    };
    answer().then(
      (document) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(document)),
      (error: unknown) => {
        const { code, status } = error instanceof Refused ? error : { code: 'InternalServerException', status: 500 };
        const message = error instanceof Error ? error.message : String(error);
        response.writeHead(status, { 'content-type': 'application/json', 'x-amzn-errortype': code });
        response.end(JSON.stringify({ __type: code, message }));
      },
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    started,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      for (const { runner } of started) await runner.then((one) => one[Symbol.asyncDispose]()).catch(() => undefined);
    },
  };
}

/** As the services do: a MicroVM's program is told first; a build's is signalled. */
async function end(one: StartedRunner): Promise<void> {
  one.stopped = true;
  const runner = await one.runner.catch(() => undefined);
  if (runner === undefined) return;
  if (one.kind === 'microvm') await (runner as FakeMicrovm).hook('terminate').catch(() => undefined);
  else runner.signal('SIGTERM');
  await endedInTime(runner);
  await runner.kill();
}

/**
 * A machine that cannot be had (they need root and Linux). On AWS the state machine would miss its signs of life; the emulator does not,
 * so it is said in the runner's place.
 */
async function excuse(ticket: string, cause: unknown): Promise<void> {
  const { url, token } = JSON.parse(ticket) as JobTicket;
  const message = `there is no machine for RUN here: ${cause instanceof Error ? cause.message : String(cause)}`;
  const failure = { code: 'SANDBOX_UNAVAILABLE', message, hint: 'The machines of deploy:local need Linux and root.' };
  const answer = await fetch(`${url}/fail`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ failure, place: { next: 0, started: 0, done: 0 } }),
  });
  if (!answer.ok) throw new Error(`${message}; and that could not be said: HTTP ${answer.status} ${await answer.text()}`);
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
