// What `slipway build` says of the cost at its end: a home that answers what an account's would.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { costOf } from '../../shared/cost/cost.ts';
import { listPrices } from '../../shared/cost/prices.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { cli } from '../support/cli.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

const id = '019a8b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b';
const digest = sha256('image');
const spent = costOf([{ at: 0, usage: { lambdaArm64MibMs: 3_174_400, stateTransitions: 16, s3Reads: 3 } }], listPrices, 0);

let folder: TempFolder;
let url: string;
let asked: number;
let posted: { readonly budget?: number } | undefined;
let facts: () => { readonly status: number; readonly body: object };
let last: object;
const server = createServer(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += String(chunk);
  const path = (request.url ?? '').replace(/\?.*$/, '');
  const answer = (status: number, ...lines: object[]) =>
    response.writeHead(status).end(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  if (request.method === 'POST' && path === '/api/v1/builds') {
    posted = JSON.parse(body) as typeof posted;
    return answer(201, { id });
  }
  if (path === `/api/v1/builds/${id}/events`) return answer(200, last);
  if (path === `/api/v1/builds/${id}`) {
    asked += 1;
    const { status, body } = facts();
    return answer(status, body);
  }
  if (path === '/api/v1/builds') {
    const one = {
      id,
      state: 'succeeded',
      created: 0,
      started: 0,
      ended: 61_000,
      tags: ['app:1'],
      dockerfile: 'Dockerfile',
      request: digest,
    };
    return answer(200, { builds: [request.url?.includes('cost=true') ? { ...one, ...spent } : one] });
  }
  // The empty context.
  if (path === '/api/v1/contexts') return answer(200, { id: digest, missing: [], direct: false });
  return answer(200, { missing: [] });
});

beforeAll(async () => {
  folder = await tempFolder();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await folder[Symbol.asyncDispose]();
});

const build = (...more: string[]) => {
  asked = 0;
  posted = undefined;
  facts = () => ({ status: 200, body: { id, ...spent } });
  last = { type: 'result', number: 1, digest, tags: [], at: 1 };
  const env = { HOME: folder.path, SLIPWAY_ENDPOINT: url, SLIPWAY_TOKEN: 't' };
  return { run: () => cli(['build', ...more, '-'], { home: folder.path, env, stdin: 'FROM scratch\nENV A=b\n' }) };
};
const line = 'cost  $0.00044 estimated (prices of 2026-11-23, us-east-1)  lambda 3.1 GB-s, s3 3 requests 0B, dynamodb 0\n';

test('one line, after everything else', async () => {
  const { code, err, out } = await build('--progress', 'plain').run();
  expect({ code, err }).toMatchObject({ code: 0 });
  expect(err.endsWith(line), err).toBe(true);
  expect(out).toBe('');
});

test('a build that failed cost something too', async () => {
  const one = build('--progress', 'plain');
  last = { type: 'error', number: 1, at: 1, failure: { code: 'STEP_FAILED', message: 'exit code: 2' } };
  const { code, err } = await one.run();
  expect(code).not.toBe(0);
  expect(err).toContain(line);
  expect(err.indexOf(line)).toBeLessThan(err.lastIndexOf('exit code: 2'));
});

test('nothing where only the ID, or only events, are wanted', async () => {
  const quiet = await build('-q').run();
  expect(quiet).toMatchObject({ code: 0, err: '', out: `${digest}\n` });
  expect(asked).toBe(0);
  expect((await build('--progress', 'rawjson').run()).err).not.toContain('cost');
  expect(asked).toBe(0);
});

test('in the file of facts, also of a quiet build', async () => {
  const file = join(folder.path, 'facts.json');
  expect(await build('-q', '--metadata-file', file).run()).toMatchObject({ code: 0, err: '' });
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({
    'containerimage.digest': digest,
    'slipway.build': id,
    'slipway.cost': spent.cost,
  });
});

test('a home that charges nothing says nothing; one that cannot tell fails no build', async () => {
  const free = build('--progress', 'plain');
  facts = () => ({ status: 200, body: { id } });
  expect((await free.run()).err).not.toContain('cost');
  const broken = build('--progress', 'plain');
  facts = () => ({ status: 404, body: { error: { code: 'NOT_FOUND', message: 'there is no such build' } } });
  expect(await broken.run()).toMatchObject({ code: 0, err: expect.stringContaining('cost  unknown: there is no such build') });
});

test('a budget is sent in billionths; what is none is refused, and so is one where nobody charges', async () => {
  expect(await build('--budget', '0.50').run()).toMatchObject({ code: 0 });
  expect(posted?.budget).toBe(500_000_000);
  expect(await build().run()).toMatchObject({ code: 0 });
  expect(posted).not.toHaveProperty('budget');
  const wrong = await build('--budget', 'much').run();
  expect(wrong.code).not.toBe(0);
  expect(wrong.err).toContain('invalid budget "much"');
  expect(posted).toBeUndefined();
  const here = await cli(['build', '--budget', '1', '-'], {
    home: join(folder.path, 'here'),
    stdin: 'FROM scratch\n',
    cwd: folder.path,
  });
  expect(here.code).not.toBe(0);
  expect(here.err).toContain('charged for by nobody');
});

test('the list of builds has a column for it, where it is known and asked for', async () => {
  const list = (...more: string[]) =>
    cli(['builds', 'ls', ...more], { home: folder.path, env: { HOME: folder.path, SLIPWAY_ENDPOINT: url, SLIPWAY_TOKEN: 't' } });
  const { out, err, code } = await list();
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out.split('\n').map((text) => text.split(/ {2,}/).slice(4, 6))).toEqual([
    ['DURATION', 'COST'],
    ['About a minute', '$0.00044'],
    [],
  ]);
  expect((await list('--format', '{{.Status}} {{.Cost}}')).out).toBe('succeeded $0.00044\n');
  expect((await list('--format', '{{.Status}}')).out).toBe('succeeded\n');
  expect(JSON.parse((await list('--json')).out)).toMatchObject([{ id, cost: { nanoDollars: spent.cost.nanoDollars } }]);
  expect((await list('-q')).out).toBe(`${id}\n`);
});
