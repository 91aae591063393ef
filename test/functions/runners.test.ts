// The SDK's own clients against a server that answers as the services do: the same client token with the same words answers the same, a
// build keeps its variables and is listed newest first, refusals have the services' names and statuses.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CodeBuildClient } from '@aws-sdk/client-codebuild';
import { LambdaMicrovmsClient } from '@aws-sdk/client-lambda-microvms';
import { expect, test } from 'vitest';
import { openMachines } from '../../functions/runners.ts';
import type { Machines } from '../../shared/workflow/launcher.ts';
import { clientOptions } from '../support/aws.ts';

type Body = Readonly<Record<string, unknown>>;
interface Variable {
  readonly name: string;
  readonly value: string;
}
interface Build {
  readonly id: string;
  readonly variables: readonly Variable[];
  status: string;
}

class Refusal extends Error {
  readonly status: number;
  constructor(name: string, status: number) {
    super(name);
    this.status = status;
  }
}

interface Services extends AsyncDisposable {
  readonly machines: Machines;
  /** Requests, by name. */
  readonly asked: { readonly name: string; readonly body: Body }[];
  readonly builds: Build[];
  readonly microvms: Map<string, { readonly request: string; readonly id: string; state: string }>;
  /** What requests of this name are refused with from here on, after they were carried out if so; undefined: no more. */
  refuse(name: string, error: string | undefined, status?: number, after?: boolean): void;
}

async function services(): Promise<Services> {
  const asked: Services['asked'] = [];
  const builds: Build[] = [];
  const microvms: Services['microvms'] = new Map();
  const refusals = new Map<string, { readonly error: Refusal; readonly after: boolean }>();
  const pageSize = 2;
  const actions: Readonly<Record<string, (body: Body) => Body>> = {
    StartBuild({ projectName, environmentVariablesOverride }) {
      const id = `${String(projectName)}:${builds.length + 1}`;
      builds.unshift({ id, variables: environmentVariablesOverride as readonly Variable[], status: 'IN_PROGRESS' });
      return { build: { id } };
    },
    ListBuildsForProject({ nextToken = '0', sortOrder }) {
      // With more than a hundred builds that is an error.
      if (sortOrder !== undefined) throw new Refusal('InvalidInputException', 400);
      const from = Number(nextToken);
      const more = from + pageSize < builds.length ? { nextToken: String(from + pageSize) } : {};
      return { ids: builds.slice(from, from + pageSize).map(({ id }) => id), ...more };
    },
    BatchGetBuilds: ({ ids }) => ({
      builds: builds
        .filter(({ id }) => (ids as string[]).includes(id))
        .map(({ id, variables, status }) => ({
          id,
          buildStatus: status,
          environment: { type: 'LINUX_CONTAINER', environmentVariables: variables },
        })),
    }),
    StopBuild({ id }) {
      const build = builds.find((one) => one.id === id);
      if (build === undefined) throw new Refusal('ResourceNotFoundException', 400);
      // The unkind one of the answers that AWS may give.
      if (build.status !== 'IN_PROGRESS') throw new Refusal('InvalidInputException', 400);
      build.status = 'STOPPED';
      return { build: { id } };
    },
    RunMicrovm(body) {
      const request = JSON.stringify(body);
      const token = String(body.clientToken);
      const known = microvms.get(token);
      if (known !== undefined && known.request !== request) throw new Refusal('ConflictException', 409);
      const one = known ?? { request, id: `microvm-${microvms.size + 1}`, state: 'RUNNING' };
      microvms.set(token, one);
      return { microvmId: one.id, state: one.state };
    },
    TerminateMicrovm({ id }) {
      const one = [...microvms.values()].find((known) => known.id === id);
      if (one === undefined) throw new Refusal('ResourceNotFoundException', 404);
      one.state = 'TERMINATED';
      return {};
    },
  };
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const [, action] = /\.(\w+)$/.exec(String(request.headers['x-amz-target'] ?? '')) ?? [];
    const [, microvm] = /microvms\/([^/]+)$/.exec(request.url ?? '') ?? [];
    const name = action ?? (request.method === 'POST' ? 'RunMicrovm' : 'TerminateMicrovm');
    const body = { ...(JSON.parse(text || '{}') as Body), ...(microvm === undefined ? {} : { id: microvm }) };
    asked.push({ name, body });
    const refusal = refusals.get(name);
    try {
      if (refusal?.after === false) throw refusal.error;
      const answer = actions[name]!(body);
      if (refusal !== undefined) throw refusal.error;
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    } catch (error) {
      const { message, status } = error as Refusal;
      response.writeHead(status, { 'content-type': 'application/json', 'x-amzn-errortype': message });
      response.end(JSON.stringify({ __type: message, message }));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const options = { ...clientOptions(`http://127.0.0.1:${(server.address() as AddressInfo).port}`), maxAttempts: 1 };
  const clients = { codebuild: new CodeBuildClient(options), microvms: new LambdaMicrovmsClient(options) };
  let signatures = 0;
  return {
    machines: openMachines(
      {
        SLIPWAY_RUNNER_ARM64: 'microvm:arn:aws:lambda:us-east-1:1:microvm-image:runner',
        SLIPWAY_RUNNER_AMD64: 'codebuild:runner-amd64',
        SLIPWAY_RUNNER_PROGRAM: 's3://assets/program.zip',
      },
      // Each signature is another one.
      { ...clients, sign: async (object, seconds) => `https://signed.test/?of=${object}&for=${seconds}&n=${signatures++}` },
    ),
    asked,
    builds,
    microvms,
    refuse(name, error, status = 400, after = false) {
      if (error === undefined) refusals.delete(name);
      else refusals.set(name, { error: new Refusal(error, status), after });
    },
    async [Symbol.asyncDispose]() {
      for (const client of Object.values(clients)) client.destroy();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

const ticket = { url: 'https://home.test/api/v1/jobs/b/0', token: 'slipway-job-1.b.0.1.1.x' };

test('a MicroVM gets the ticket, no role and no leave to sleep, and a limit to its life', async () => {
  await using at = await services();
  expect(await at.machines.start('linux/arm64', ticket, 'b-0-1')).toBe('microvm:microvm-1');
  const [{ body }] = at.asked as [Services['asked'][number]];
  expect(body).toEqual({
    imageIdentifier: 'arn:aws:lambda:us-east-1:1:microvm-image:runner',
    maximumDurationInSeconds: 4 * 3600,
    runHookPayload: JSON.stringify(ticket),
    clientToken: 'b-0-1',
  });
});

test('a MicroVM whose start was never answered is found by its client token, and ended', async () => {
  await using at = await services();
  at.refuse('RunMicrovm', 'InternalServerException', 500, true);
  await expect(at.machines.start('linux/arm64', ticket, 'b-0-1')).rejects.toMatchObject({ code: 'STORE' });
  at.refuse('RunMicrovm', undefined);
  const found = await at.machines.find('linux/arm64', ticket, 'b-0-1');
  expect(found).toBe('microvm:microvm-1');
  await at.machines.stop(found!);
  expect([...at.microvms.values()].map(({ state }) => state)).toEqual(['TERMINATED']);
  // Ended twice, or never there: no error.
  await at.machines.stop(found!);
  await at.machines.stop('microvm:never');
});

test('a CodeBuild build is found by its name among others, page by page, until it has ended', async () => {
  await using at = await services();
  const handles: string[] = [];
  for (const n of [1, 2, 3, 4, 5]) handles.push(await at.machines.start('linux/amd64', ticket, `b-0-${n}`));
  expect(at.asked[0]!.body).toMatchObject({
    projectName: 'runner-amd64',
    idempotencyToken: 'b-0-1',
    timeoutInMinutesOverride: 240,
    queuedTimeoutInMinutesOverride: 10,
    environmentVariablesOverride: [
      { name: 'SLIPWAY_RUNNER', value: 'b-0-1', type: 'PLAINTEXT' },
      { name: 'SLIPWAY_JOB', value: JSON.stringify(ticket), type: 'PLAINTEXT' },
      {
        name: 'SLIPWAY_RUNNER_PROGRAM',
        value: expect.stringContaining('of=s3://assets/program.zip&for=3600'),
        type: 'PLAINTEXT',
      },
    ],
  });
  expect(await at.machines.find('linux/amd64', ticket, 'b-0-1')).toBe(handles[0]);
  expect(await at.machines.find('linux/amd64', ticket, 'b-0-10')).toBeUndefined();
  await at.machines.stop(handles[0]!);
  expect(at.builds.at(-1)).toMatchObject({ status: 'STOPPED' });
  expect(await at.machines.find('linux/amd64', ticket, 'b-0-1')).toBeUndefined();
  await at.machines.stop('codebuild:runner-amd64:never');
});

test.each([
  ['ThrottlingException', 429, 'TOO_MANY_REQUESTS', false],
  ['TooManyRequestsException', 429, 'TOO_MANY_REQUESTS', false],
  ['ServiceQuotaExceededException', 402, 'TOO_MANY_REQUESTS', true],
  ['InsufficientCapacityException', 503, 'TOO_MANY_REQUESTS', true],
  ['ValidationException', 400, 'SANDBOX_UNAVAILABLE', false],
  ['AccessDeniedException', 403, 'SANDBOX_UNAVAILABLE', false],
  // Whether it was carried out is not known, so it is looked for.
  ['InternalServerException', 500, 'STORE', false],
  ['ConflictException', 409, 'STORE', false],
])('a MicroVM refused with %s (%i) is %s', async (name, status, code, absent) => {
  await using at = await services();
  at.refuse('RunMicrovm', name, status);
  const refused = { code, message: expect.stringContaining(name) };
  await expect(at.machines.start('linux/arm64', ticket, 'b-0-1')).rejects.toMatchObject(refused);
  // No room for it says that it was not there before; other refusals say nothing of that.
  const found = at.machines.find('linux/arm64', ticket, 'b-0-1');
  if (absent) expect(await found).toBeUndefined();
  else await expect(found).rejects.toMatchObject(refused);
});

test('too many CodeBuild builds at once are waited for; what cannot be stopped says so', async () => {
  await using at = await services();
  at.refuse('StartBuild', 'AccountLimitExceededException', 400);
  await expect(at.machines.start('linux/amd64', ticket, 'b-0-1')).rejects.toMatchObject({ code: 'TOO_MANY_REQUESTS' });
  at.refuse('StopBuild', 'InternalServerException', 500);
  await expect(at.machines.stop('codebuild:runner-amd64:1')).rejects.toMatchObject({
    code: 'STORE',
    message: expect.stringContaining('codebuild:runner-amd64:1'),
  });
});

test('a CodeBuild build that has ended by itself is stopped, whatever CodeBuild says to that; one that goes on is not', async () => {
  await using at = await services();
  const handle = await at.machines.start('linux/amd64', ticket, 'b-0-1');
  at.refuse('StopBuild', 'InvalidInputException');
  await expect(at.machines.stop(handle)).rejects.toMatchObject({
    code: 'SANDBOX_UNAVAILABLE',
    message: expect.stringContaining('InvalidInputException'),
  });
  at.refuse('StopBuild', undefined);
  for (const status of ['SUCCEEDED', 'FAILED', 'FAULT', 'TIMED_OUT', 'STOPPED']) {
    at.builds[0]!.status = status;
    await at.machines.stop(handle);
    expect(at.builds[0]!.status).toBe(status);
  }
});

test('a platform that nothing executes is refused by name', async () => {
  await using at = await services();
  await expect(at.machines.start('linux/s390x', ticket, 'b-0-1')).rejects.toMatchObject({
    code: 'SANDBOX_UNAVAILABLE',
    message: expect.stringContaining('linux/s390x'),
  });
});
