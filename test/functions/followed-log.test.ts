// The control API behind a gateway that passes on whole answers, of so many bytes, in so many seconds: a log is followed all the same.
import type { APIGatewayProxyEvent } from 'aws-lambda';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiHandler } from '../../functions/api-gateway.ts';
import { createApi } from '../../shared/api/app.ts';
import type { ApiParts } from '../../shared/api/parts.ts';
import { BuildRecords } from '../../shared/build/build-records.ts';
import type { BuildEvent } from '../../shared/build/events.ts';
import { followEvents } from '../../shared/build/follow.ts';
import type { BuildService } from '../../shared/build/service.ts';
import type { TransferService } from '../../shared/transfer/service.ts';
import { type StoreHome, storeHome } from '../support/store-home.ts';

let home: StoreHome;
let records: BuildRecords;
beforeAll(async () => {
  home = await storeHome(Date.now);
  records = new BuildRecords({ ...home, clock: Date.now });
});
afterAll(() => home[Symbol.asyncDispose]());

const event = (path: string, query: Record<string, string> = {}) =>
  ({
    httpMethod: 'GET',
    path,
    headers: {},
    multiValueHeaders: {},
    multiValueQueryStringParameters: Object.fromEntries(Object.entries(query).map(([name, value]) => [name, [value]])),
    body: null,
    isBase64Encoded: false,
  }) as unknown as APIGatewayProxyEvent;
const handler = (times: { gather?: number; limit?: number }) => {
  const builds = {
    get: async (id: string) => ({ ...(await records.get(id))! }),
    events: (id: string, options: object) => followEvents(records, id, options, { least: 5, most: 10, ...times }),
  } as unknown as BuildService;
  return apiHandler(async () => createApi({ ...home, builds: async () => builds } as unknown as ApiParts));
};
const linesOf = (body: string) =>
  body
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as BuildEvent & { number: number });

async function started(): Promise<string> {
  const request = {
    context: { kind: 'none' as const },
    dockerfile: { name: 'D', text: 'FROM scratch\n' },
    tags: [],
    buildArgs: {},
    labels: {},
    noCache: false,
    pull: false,
  };
  const { build } = await records.create(request);
  await records.start(build.id);
  return build.id;
}
const source = { name: 'build', attempt: 1 };
const logged = (text: string): BuildEvent => ({ type: 'log', id: 1, stream: 'stdout', text, at: 1 });

/** As a client follows: from the last number, until the end. */
async function follow(handle: ReturnType<typeof apiHandler>, id: string) {
  const seen: (BuildEvent & { number: number })[] = [];
  const sizes: number[] = [];
  for (let last: string | undefined; last !== 'result' && last !== 'error'; last = seen.at(-1)?.type) {
    const answer = await handle(event(`/api/v1/builds/${id}/events`, { after: String(seen.at(-1)?.number ?? 0) }));
    expect(answer.statusCode).toBe(200);
    sizes.push(Buffer.byteLength(answer.body));
    seen.push(...linesOf(answer.body));
  }
  return { seen, sizes };
}

describe('a log behind a gateway', () => {
  it('comes in answers that each end soon after their first event, while the build goes on', async () => {
    const id = await started();
    const handle = handler({ gather: 1, limit: 60_000 });
    await records.append(id, { ...source, first: 0 }, [{ type: 'started', id: 1, name: 'a step', at: 1 }]);
    const first = await handle(event(`/api/v1/builds/${id}/events`));
    expect(linesOf(first.body).map(({ number, type }) => [number, type])).toEqual([[1, 'started']]);
    // Nothing new yet: it waits, and ends with what comes.
    const waiting = handle(event(`/api/v1/builds/${id}/events`, { after: '1' }));
    await records.append(id, { ...source, first: 1 }, [logged('later\n')]);
    expect(linesOf((await waiting).body)).toMatchObject([{ number: 2, text: 'later\n' }]);
    await records.fail(id, { code: 'STEP_FAILED', message: 'it failed' });
    expect((await follow(handle, id)).seen.map(({ number }) => number)).toEqual([1, 2, 3]);
  });

  it('ends an answer without an event when its time is over', async () => {
    const id = await started();
    const answer = await handler({ limit: 1 })(event(`/api/v1/builds/${id}/events`));
    expect([answer.statusCode, linesOf(answer.body)]).toEqual([200, []]);
  });

  it('is cut at what the gateway passes, between events, and none is lost or told twice', async () => {
    const id = await started();
    await records.append(id, { ...source, first: 0 }, [{ type: 'started', id: 1, name: 'a step', at: 1 }]);
    const text = `${'x'.repeat(100_000)}\n`;
    for (let i = 0; i < 70; i++) await records.append(id, { ...source, first: i + 1 }, [logged(text)]);
    await records.succeed(id, { digest: `sha256:${'0'.repeat(64)}`, tags: [] });
    const { seen, sizes } = await follow(handler({}), id);
    expect(seen.map(({ number }) => number)).toEqual(Array.from({ length: 72 }, (_, i) => i + 1));
    expect(sizes.length).toBeGreaterThan(2);
    // 6 MB of an event that a function may answer, each quote escaped.
    for (const size of sizes) expect(size).toBeLessThan(3_000_000);
  });

  it('of a transfer is cut there, too', async () => {
    const events = Array.from({ length: 60 }, (_, i) => ({
      number: i + 1,
      kind: 'pulling' as const,
      reference: 'x'.repeat(100_000),
      path: 'p',
    }));
    const transfers = {
      get: async () => ({ id: 'x', verb: 'pull', reference: 'debian:12' }),
      async *events(_: string, { after = 0 }) {
        yield* events.slice(after);
      },
    } as unknown as TransferService;
    const handle = apiHandler(async () => createApi({ ...home, transfers: async () => transfers } as unknown as ApiParts));
    const numbers: number[] = [];
    let answers = 0;
    while (numbers.length < events.length) {
      const { statusCode, body } = await handle(event('/api/v1/transfers/x/events', { after: String(numbers.length) }));
      expect(statusCode).toBe(200);
      expect(Buffer.byteLength(body)).toBeLessThan(3_000_000);
      numbers.push(...linesOf(body).map(({ number }) => number));
      answers++;
    }
    expect(numbers).toEqual(events.map(({ number }) => number));
    expect(answers).toBeGreaterThan(2);
  });
});
