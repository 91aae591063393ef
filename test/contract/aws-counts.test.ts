// What the drivers count against what went over the wire: a proxy before the emulator that writes every request down.
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, request as send } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { Metering } from '../../functions/metering.ts';
import { buildCost } from '../../shared/build/build-cost.ts';
import { UsageRecords } from '../../shared/build/usage-records.ts';
import { Meter, metered } from '../../shared/cost/meter.ts';
import type { Usage } from '../../shared/cost/usage.ts';
import { DynamoTable } from '../../shared/store/aws/dynamo-table.ts';
import { S3Blobs } from '../../shared/store/aws/s3-blobs.ts';
import { finishStep, planBuildStep, readyStages, runStageStep } from '../../shared/workflow/steps.ts';
import { accountHome, eventsOf, project, requestOf, sendContext, startBuild } from '../support/account-home.ts';
import { clientOptions } from '../support/aws.ts';
import { pattern } from './pattern.ts';
import { failure } from './table-suite.ts';

const MiB = 1 << 20;
const aws = inject('aws');
const key = { partition: 'p', sort: 's' };

interface Seen {
  readonly service: 's3' | 'dynamodb';
  /** `PUT`, or `TransactWriteItems`. */
  readonly what: string;
  readonly sent: number;
  received: number;
  status: number;
}

/** Passes everything on, or answers in place of AWS; `log` has every request. */
async function wire(endpoint: string) {
  const log: Seen[] = [];
  const answers: number[] = [];
  const server = createServer((incoming: IncomingMessage, outgoing) => {
    const target = /^DynamoDB_\d+\.(\w+)$/.exec(String(incoming.headers['x-amz-target'] ?? ''))?.[1];
    const seen: Seen = {
      service: target === undefined ? 's3' : 'dynamodb',
      what: target ?? incoming.method ?? '',
      sent: Number(incoming.headers['content-length'] ?? 0),
      received: 0,
      status: 0,
    };
    log.push(seen);
    const answer = answers.shift();
    if (answer !== undefined) {
      incoming.resume();
      seen.status = answer;
      const body = target === undefined ? '<Error><Code>SlowDown</Code></Error>' : '{"__type":"x#InternalServerError"}';
      return void incoming.on('end', () => outgoing.writeHead(answer, { 'content-length': body.length }).end(body));
    }
    const onward = send(
      new URL(incoming.url ?? '/', endpoint),
      { method: incoming.method, headers: incoming.headers },
      (back) => {
        seen.status = back.statusCode ?? 0;
        outgoing.writeHead(seen.status, back.headers);
        back.on('data', (chunk: Buffer) => {
          seen.received += chunk.length;
        });
        back.pipe(outgoing);
      },
    );
    onward.on('error', () => outgoing.destroy());
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    log,
    answers,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** What AWS would bill for the requests that were seen. */
function billed(log: readonly Seen[]): Usage {
  const s3 = log.filter(({ service, status }) => service === 's3' && status < 500);
  const of = (...methods: string[]) => s3.filter(({ what }) => methods.includes(what)).length;
  const dynamo = log.filter(({ service }) => service === 'dynamodb');
  const sum = (list: readonly Seen[], pick: (seen: Seen) => number) => list.reduce((total, one) => total + pick(one), 0);
  return {
    s3Reads: of('GET', 'HEAD'),
    s3Writes: of('PUT', 'POST'),
    s3Frees: of('DELETE'),
    s3BytesIn: sum(
      s3.filter(({ what }) => what === 'PUT' || what === 'POST'),
      ({ sent }) => sent,
    ),
    s3BytesOut: sum(
      s3.filter(({ what }) => what === 'GET'),
      ({ received }) => received,
    ),
    dynamodbRequests: dynamo.length,
    dynamodbBytesIn: sum(dynamo, ({ sent }) => sent),
  };
}

const counted = (usage: Usage): Usage => Object.fromEntries(Object.keys(billed([])).map((name) => [name, usage[name] ?? 0]));

if ('missing' in aws) {
  describe('requests are counted', () => test.skip(aws.missing));
} else {
  describe('requests are counted', () => {
    const names = { bucket: `c-${randomUUID()}`, table: `c-${randomUUID()}` };
    let line: Awaited<ReturnType<typeof wire>>;
    let table: DynamoTable;
    let blobs: S3Blobs;
    let dynamo: DynamoDBClient;
    let s3: S3Client;
    beforeAll(async () => {
      line = await wire(aws.endpoint);
      const options = clientOptions(line.endpoint);
      dynamo = new DynamoDBClient(options);
      s3 = new S3Client({ ...options, forcePathStyle: true, requestChecksumCalculation: 'WHEN_REQUIRED' });
      await dynamo.send(new CreateTableCommand(DynamoTable.createTableInput(names.table)));
      await s3.send(new CreateBucketCommand({ Bucket: names.bucket }));
      table = new DynamoTable({ client: dynamo, table: names.table });
      // Another driver on the same client counts nothing twice.
      new DynamoTable({ client: dynamo, table: names.table });
      blobs = new S3Blobs({ client: s3, bucket: names.bucket, table });
    });
    afterAll(async () => {
      dynamo.destroy();
      s3.destroy();
      await line[Symbol.asyncDispose]();
    });
    beforeEach(() => {
      line.log.length = 0;
      line.answers.length = 0;
    });

    const measure = async (work: () => Promise<unknown>): Promise<Usage> => {
      const meter = new Meter({ clock: () => 0 });
      await metered(meter, work);
      return meter.read().usage;
    };

    test('of blobs, as they go over the wire', async () => {
      const usage = await measure(async () => {
        const { digest } = await blobs.put(pattern(1, 0, 3 * MiB));
        const large = await blobs.put(pattern(2, 0, 20 * MiB));
        for (const one of [digest, large.digest]) {
          const found = await blobs.open(one);
          for await (const _ of found!.body);
        }
        await blobs.delete(digest);
        // Signing a URL asks nobody but the table.
        await blobs.link.read(large.digest, { method: 'GET', seconds: 60 });
      });
      expect(counted(usage)).toEqual(billed(line.log));
      expect(usage).toMatchObject({ s3Reads: 2, s3Frees: 1, s3BytesOut: 23 * MiB });
      expect(usage.s3Writes).toBeGreaterThan(3);
      expect(usage.s3BytesIn).toBeGreaterThanOrEqual(23 * MiB);
    });

    test('of records, in units of what they hold', async () => {
      const usage = await measure(async () => {
        await table.put(key, { text: 'x'.repeat(5000) });
        await table.get(key);
        await table.get({ ...key, sort: 'absent' });
        await table.getMany([key, { ...key, sort: 'absent' }]);
        await table.query('p', { limit: 10 });
        await table.transact([{ kind: 'put', key, value: 'small' }]);
        await table.delete(key);
      });
      expect(counted(usage)).toEqual(billed(line.log));
      expect(usage).toMatchObject({ dynamodbRequests: 7 });
      // 5 KB: five units to write, two to read; nothing found costs a unit too.
      expect(usage.dynamodbReadUnits).toBeGreaterThanOrEqual(5);
      expect(usage.dynamodbReadUnits).toBeLessThanOrEqual(2 + 1 + 3 + 2);
      expect(usage.dynamodbWriteUnits).toBeGreaterThanOrEqual(5 + 2 + 1);
    });

    test('that AWS refuses with a fault, but not billed where AWS does not', async () => {
      const usage = await measure(async () => {
        line.answers.push(503, 500);
        await table.put({ ...key, sort: 'again' }, 'small');
      });
      expect(line.log.map(({ status }) => status)).toEqual([503, 500, 200]);
      expect(usage).toMatchObject({ dynamodbRequests: 3, dynamodbWriteUnits: 1 });
      line.log.length = 0;
      const stored = await measure(async () => {
        line.answers.push(503);
        await s3.send(new CreateBucketCommand({ Bucket: `c-${randomUUID()}` }));
      });
      expect(line.log.map(({ status }) => status)).toEqual([503, 200]);
      expect(counted(stored)).toEqual(billed(line.log));
      expect(stored).toMatchObject({ s3Writes: 1 });
    });

    test('whose condition fails: they cost what they would have written', async () => {
      const usage = await measure(async () => {
        await table.put({ ...key, sort: 'one' }, 'first');
        const big = { text: 'x'.repeat(3000) };
        expect((await failure(table.put({ ...key, sort: 'one' }, big, { condition: { ifAbsent: true } }))).code).toBe(
          'STORE_CONFLICT',
        );
        const write = { kind: 'put', key: { ...key, sort: 'one' }, value: big, condition: { ifAbsent: true } } as const;
        expect((await failure(table.transact([write]))).code).toBe('STORE_CONFLICT');
      });
      expect(counted(usage)).toEqual(billed(line.log));
      expect(usage.dynamodbWriteUnits).toBe(1 + 3 + 6);
    });

    test('of nobody while nobody counts, and then DynamoDB is not asked for a report', async () => {
      await table.put({ ...key, sort: 'quiet' }, 'x');
      expect(line.log).toHaveLength(1);
      const silent = line.log[0]!.sent;
      line.log.length = 0;
      await measure(() => table.put({ ...key, sort: 'quiet' }, 'x'));
      expect(line.log[0]!.sent).toBeGreaterThan(silent);
    });

    test('of a whole build: the sum of its parts is what was seen, its own bookkeeping included', async () => {
      await using home = await accountHome({ wrap: () => ({ blobs, table }) });
      const files = { 'etc/passwd': 'root:x:0:0::/:/bin/sh\n', 'app/main.js': 'go()' };
      const context = { kind: 'stored' as const, id: await sendContext(home.fresh(), files), project };
      const text = 'FROM scratch AS one\nCOPY app /one\nFROM scratch\nCOPY --from=one /one /two\nCOPY etc /etc\n';
      const id = await startBuild(home, requestOf(text, { context }));
      const usages = new UsageRecords(table);
      line.log.length = 0;
      // Each state in a process of its own, as in an account.
      const state = <T>(name: string, work: () => Promise<T>): Promise<T> =>
        new Metering({ name, env: { AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '1769' }, loaded: 100 }).run(id, usages, {}, work);
      await state('plan', () => planBuildStep(id, home.fresh()));
      for (;;) {
        const { stages, done } = await state('finish', () => readyStages(id, home.fresh()));
        if (done) break;
        await Promise.all(stages.map((stage) => state('stage', () => runStageStep(id, stage, home.fresh()))));
      }
      const build = await state('finish', () => finishStep(id, home.fresh()));
      expect(build.failure).toBeUndefined();
      const seen = billed(line.log);
      const { usage, cost } = await buildCost(usages, build, Date.now());
      // The bytes of bookkeeping are not counted, its requests are.
      const { dynamodbBytesIn: _, ...requests } = counted(usage!);
      const { dynamodbBytesIn: __, ...expected } = seen;
      expect(requests).toEqual(expected);
      expect(usage).toMatchObject({ lambdaRequests: 7 });
      expect(cost!.services).toMatchObject({ s3: 400 * seen.s3Reads! + 5000 * seen.s3Writes! });
      const names = (await eventsOf(home, id)).flatMap((event) => (event.type === 'started' ? [event.name] : []));
      expect(cost!.steps.map(({ name }) => name).sort()).toEqual(names.toSorted());
      const copy = cost!.steps.find(({ name }) => name.includes('COPY app'));
      expect(copy).toMatchObject({ stage: 0 });
      expect(copy!.nanoDollars).toBeGreaterThan(0);
    }, 60_000);
  });
}
