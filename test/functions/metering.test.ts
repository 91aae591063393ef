import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { countedBuild, countedJob } from '../../functions/counted-calls.ts';
import { Metering } from '../../functions/metering.ts';
import { meteredMachines, sizeOf } from '../../functions/runner-use.ts';
import { buildCost, savePrices } from '../../shared/build/build-cost.ts';
import { BuildRecords } from '../../shared/build/build-records.ts';
import { UsageRecords } from '../../shared/build/usage-records.ts';
import { count } from '../../shared/cost/meter.ts';
import { listPrices } from '../../shared/cost/prices.ts';
import type { Table } from '../../shared/store/table.ts';
import type { Machines } from '../../shared/workflow/launcher.ts';
import { requestOf } from '../support/account-home.ts';
import { storeHome } from '../support/store-home.ts';

const rateName = process.arch === 'arm64' ? 'lambdaArm64MibMs' : 'lambdaX64MibMs';
const env = { AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '1024' };

async function stored(wrap: (table: Table) => Table = (table) => table) {
  const home = await storeHome();
  const usages = new UsageRecords(wrap(home.table));
  const build = '019a8b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b';
  const parts = async () => [...(await usages.parts(build))].map(([name, part]) => ({ name, ...part }));
  return { home, usages, build, parts, [Symbol.asyncDispose]: () => home[Symbol.asyncDispose]() };
}

describe('invocations of a function', () => {
  test('of one process are one part, with its loading in the first, and what keeping it used', async () => {
    await using at = await stored();
    let clock = 0;
    const metering = new Metering({ name: 'stage', env, clock: () => clock, loaded: 200 });
    const invoke = (ms: number) =>
      metering.run(at.build, at.usages, {}, async () => {
        count('s3Reads', 2);
        clock += ms;
      });
    await invoke(300);
    expect(await at.parts()).toMatchObject([
      {
        name: expect.stringMatching(/^stage\.[0-9a-f]{12}$/),
        usage: { lambdaRequests: 1, [rateName]: 500 * 1024, s3Reads: 2, dynamodbRequests: 1, dynamodbWriteUnits: 1 },
      },
    ]);
    await invoke(50);
    expect((await at.parts()).map(({ usage }) => usage)).toEqual([
      { lambdaRequests: 2, [rateName]: 550 * 1024, s3Reads: 4, dynamodbRequests: 2, dynamodbWriteUnits: 2 },
    ]);
  });

  test('of a process started in place of one that died add to what that one had kept', async () => {
    await using at = await stored();
    const died = new Metering({ name: 'stage', env: {}, loaded: 0, interval: 5 });
    const seen = Promise.withResolvers<void>();
    const forgotten = Promise.withResolvers<void>();
    const hanging = died.run(at.build, at.usages, {}, async (call) => {
      count('s3Reads', 3);
      await call.report();
      count('s3Reads', 4);
      // A report of its own accord, and then nothing any more.
      for (let known = 0; known !== 7; ) {
        await sleep(5);
        known = (await at.parts())[0]?.usage.s3Reads ?? 0;
      }
      seen.resolve();
      await forgotten.promise;
    });
    await seen.promise;
    const next = new Metering({ name: 'stage', env: {}, loaded: 0 });
    await next.run(at.build, at.usages, {}, async () => count('s3Reads', 10));
    const { usage } = await buildCost(at.usages, { id: at.build }, 0);
    expect(usage).toMatchObject({ lambdaRequests: 2, s3Reads: 17 });
    forgotten.resolve();
    await hanging;
  });

  test('that fail are counted, and fail with their own error', async () => {
    await using at = await stored();
    const metering = new Metering({ name: 'plan', env, loaded: 0 });
    const failing = metering.run(at.build, at.usages, {}, async () => {
      count('s3Writes');
      throw new Error('its own');
    });
    await expect(failing).rejects.toThrow('its own');
    expect((await at.parts())[0]?.usage).toMatchObject({ lambdaRequests: 1, s3Writes: 1 });
  });

  test('whose numbers cannot be kept succeed all the same', async () => {
    const broken = (table: Table): Table =>
      new Proxy(table, {
        get(target, name) {
          const member = Reflect.get(target, name, target) as unknown;
          if (typeof member !== 'function') return member;
          return (...args: unknown[]) =>
            name === 'put' && JSON.stringify(args[0]).includes('usage#')
              ? Promise.reject(new Error('throttled'))
              : (member as (...all: unknown[]) => unknown).apply(target, args);
        },
      });
    await using at = await stored(broken);
    const faults: unknown[] = [];
    const metering = new Metering({ name: 'plan', env, loaded: 0, onFault: (fault) => faults.push(fault) });
    expect(await metering.run(at.build, at.usages, {}, async () => 'done')).toBe('done');
    expect(await at.parts()).toEqual([]);
    expect(faults).toMatchObject([{ function: 'plan', build: at.build, error: { message: 'throttled' } }]);
  });

  test('that are many and short are kept every few seconds, the last one at once', async () => {
    await using at = await stored();
    let clock = 0;
    const metering = new Metering({ name: 'jobs', env: {}, clock: () => clock, loaded: 0 });
    const call = (always: boolean) =>
      metering.run(undefined, at.usages, { counts: { apiRequests: 1 }, always }, async (one) => {
        one.build = at.build;
      });
    const kept = async () => (await at.parts())[0]?.usage.apiRequests;
    await call(false);
    expect(await kept()).toBe(1);
    for (let i = 0; i < 9; i++) await call(false);
    expect(await kept()).toBe(1);
    clock += 5000;
    await call(false);
    expect(await kept()).toBe(11);
    await call(false);
    await call(true);
    expect(await kept()).toBe(13);
  });

  test('that belong to no build leave nothing', async () => {
    await using at = await stored();
    await new Metering({ name: 'jobs', env, loaded: 0 }).run(undefined, at.usages, {}, async () => undefined);
    expect(await at.parts()).toEqual([]);
  });
});

describe('runners', () => {
  test('are billed by what the stack says of them', () => {
    expect(sizeOf('microvm:x', 'linux/arm64', {})).toEqual({ kind: 'microvm', mib: 2048, milliVcpu: 1000 });
    expect(sizeOf('microvm:x', 'linux/arm64', { SLIPWAY_MICROVM_MEMORY: '512' })).toMatchObject({ mib: 512, milliVcpu: 250 });
    expect(sizeOf('codebuild:a:b', 'linux/amd64', {})).toEqual({ kind: 'codebuild', size: 'X64Medium' });
    const small = { SLIPWAY_CODEBUILD_SIZE: 'BUILD_GENERAL1_SMALL' };
    expect(sizeOf('codebuild:a:b', 'linux/arm64/v8', small)).toEqual({ kind: 'codebuild', size: 'Arm64Small' });
    expect(sizeOf('codebuild:a:b', 'linux/amd64', { SLIPWAY_CODEBUILD_SIZE: 'BUILD_GENERAL1_2XLARGE' })).toMatchObject({
      size: 'X642xlarge',
    });
  });

  test('count from their first start to their first stop, whatever is told twice', async () => {
    await using at = await stored();
    let now = 1000;
    const calls: string[] = [];
    const handles = ['microvm:a', 'microvm:b'];
    const inner: Machines = {
      start: async (_, __, name) => {
        calls.push(`start ${name}`);
        now += 100;
        return handles.shift()!;
      },
      find: async () => 'microvm:a',
      stop: async (handle) => void calls.push(`stop ${handle}`),
    };
    const notes = { table: at.home.table, build: at.build, env: {}, clock: () => now };
    const machines = meteredMachines(inner, notes);
    const ticket = { url: 'https://home/', token: 't' };
    await machines.stop('microvm:a');
    expect(await at.parts()).toEqual([]);
    expect(await machines.start('linux/arm64', ticket, `${at.build}-2-1`)).toBe('microvm:a');
    now = 2500;
    expect(await machines.find('linux/arm64', ticket, `${at.build}-2-1`)).toBe('microvm:a');
    const running = await buildCost(at.usages, { id: at.build }, 3000);
    expect(running.usage).toEqual({ runnerMs: 2000, microvmMilliVcpuMs: 2_000_000, microvmMibMs: 2000 * 2048 });
    now = 11_000;
    await machines.stop('microvm:a');
    now = 99_000;
    await machines.stop('microvm:a');
    now = 20_000;
    await machines.start('linux/arm64', ticket, `${at.build}-2-2`);
    // The second was never stopped: to the end of the build.
    const { usage, cost } = await buildCost(at.usages, { id: at.build, ended: 25_000 }, 99_000);
    expect(usage).toMatchObject({ runnerMs: 15_000 });
    expect(cost?.services).toEqual({ microvm: Math.round(15 * (27_694.4 + 2 * 3666.7)) });
    expect((await at.parts()).map(({ runner }) => runner)).toMatchObject([
      { stage: 2, attempt: 1, started: 1000, ended: 11_000 },
      { stage: 2, attempt: 2, started: 20_000 },
    ]);
  });

  test('that cannot be noted are started and stopped all the same', async () => {
    await using at = await stored();
    const faults: unknown[] = [];
    const inner: Machines = { start: async () => 'codebuild:p:1', find: async () => undefined, stop: async () => undefined };
    const table = { get: () => Promise.reject(new Error('throttled')) } as unknown as Table;
    const notes = { table, build: at.build, env: {}, clock: () => 0, onFault: (fault: unknown) => void faults.push(fault) };
    const machines = meteredMachines(inner, notes);
    expect(await machines.start('linux/amd64', { url: '', token: '' }, 'x-0-1')).toBe('codebuild:p:1');
    await machines.stop('codebuild:p:1');
    expect(faults).toHaveLength(2);
  });
});

describe('calls through the gateway', () => {
  const answered =
    (statusCode: number, body = '{}') =>
    async () => ({ statusCode, headers: {}, body, isBase64Encoded: false });
  const requests = async (at: Awaited<ReturnType<typeof stored>>) =>
    (await at.parts()).reduce((sum, { usage }) => sum + (usage.apiRequests ?? 0), 0);

  test('of a runner are its build’s, unless they were refused', async () => {
    await using at = await stored();
    let clock = 0;
    const around = countedJob(new Metering({ name: 'jobs', env: {}, clock: () => clock, loaded: 0 }), at.home.table);
    const path = `/api/v1/jobs/${at.build}/0`;
    expect((await around('POST', `${path}/claim`, answered(401))).statusCode).toBe(401);
    expect(await requests(at)).toBe(0);
    await around('POST', `${path}/claim`, answered(200));
    await around('POST', `${path}/blobs/read`, answered(200));
    expect(await requests(at)).toBe(1);
    await around('POST', `${path}/complete`, answered(200));
    expect(await requests(at)).toBe(3);
    clock += 5000;
    await around('GET', '/somewhere/else', answered(200));
    expect(await requests(at)).toBe(3);
  });

  test('of who starts, follows or cancels a build are that build’s until it is over', async () => {
    await using at = await stored();
    const { build } = await new BuildRecords({ table: at.home.table, blobs: at.home.blobs, clock: () => 0 }).create(
      requestOf('FROM scratch\n'),
    );
    let clock = 0;
    let now = 1000;
    const metering = new Metering({ name: 'api', env: {}, clock: () => clock, loaded: 0 });
    const around = countedBuild(metering, at.home.table, () => now);
    const kept = async () => (await buildCost(at.usages, build, 0)).usage?.apiRequests ?? 0;
    await around('POST', '/api/v1/builds', answered(201, JSON.stringify({ id: build.id })));
    expect(await kept()).toBe(1);
    for (const path of [`/api/v1/builds/${build.id}/events`, `/api/v1/builds/${build.id}`, `/api/v1/builds/${build.id}/cancel`]) {
      clock += 5000;
      await around('GET', path, answered(200));
    }
    expect(await kept()).toBe(4);
    for (const path of [
      '/api/v1/images',
      '/api/v1/builds',
      '/api/v1/builds/unknown/events',
      `/api/v1/builds/${build.id}/other`,
    ]) {
      clock += 5000;
      await around('GET', path, answered(200));
    }
    expect(await kept()).toBe(4);
    await new BuildRecords({ table: at.home.table, blobs: at.home.blobs, clock: () => 2000 }).fail(build.id, {
      code: 'INTERNAL',
      message: 'x',
    });
    now = 30_000;
    clock += 5000;
    await around('GET', `/api/v1/builds/${build.id}`, answered(200));
    expect(await kept()).toBe(5);
    now = 90_000;
    clock += 5000;
    await around('GET', `/api/v1/builds/${build.id}/events`, answered(200));
    expect(await kept()).toBe(5);
  });
});

test('a build’s cost keeps the prices that were in force when it began', async () => {
  await using at = await stored();
  expect(await buildCost(at.usages, { id: at.build }, 0)).toEqual({});
  await savePrices(at.usages, at.build, { ...listPrices, date: '2020-01-01', prices: { s3Read: '0.000001' } }, 'eu-west-1');
  expect(await buildCost(at.usages, { id: at.build }, 0)).toEqual({});
  await savePrices(at.usages, at.build, listPrices, 'us-east-1');
  await new Metering({ name: 'x', env: {}, loaded: 0 }).run(at.build, at.usages, {}, async () => count('s3Reads', 5));
  const { cost } = await buildCost(at.usages, { id: at.build }, 0);
  expect(cost).toMatchObject({ nanoDollars: 5000, region: 'eu-west-1', prices: { date: '2020-01-01', region: 'us-east-1' } });
  expect(cost?.unpriced).toContain('dynamodbWriteUnits');
});
