import { expect, it } from 'vitest';
import { unrestricted } from '../../shared/api/access.ts';
import { type ApiRequest, errorResponse, json, ndjson, readAll, readLines } from '../../shared/api/http.ts';
import { dispatch as dispatchAs, type Route, route } from '../../shared/api/router.ts';
import { SlipwayError } from '../../shared/errors.ts';

const request = (method: string, path: string): ApiRequest => ({
  method,
  url: `http://slipway${path}`,
  headers: { get: () => null },
  body: null,
});
const dispatch = (known: readonly Route[], asked: ApiRequest) => dispatchAs(known, asked, unrestricted);
const routes = [
  route('GET', '/api/v1/images/:name+/history', ({ params }) => json({ history: params.name })),
  route('GET', '/api/v1/images/:name+', ({ params, query }) => json({ name: params.name, all: query.get('all') })),
  route('POST', '/api/v1/builds/:id/cancel', ({ params }) => json({ id: params.id })),
];
const answer = async (method: string, path: string) => {
  const response = await dispatch(routes, request(method, path));
  return JSON.parse((await readAll(response.body, 1e6, 'answer')).toString());
};

it('matches names with slashes, escaped or not, and decodes them', async () => {
  expect(await answer('GET', '/api/v1/images/team/app:1')).toEqual({ name: 'team/app:1', all: null });
  expect(await answer('GET', '/api/v1/images/team%2Fapp%3A1?all=1')).toEqual({ name: 'team/app:1', all: '1' });
  expect(await answer('GET', '/api/v1/images/team/app/history')).toEqual({ history: 'team/app' });
});

it('keeps a one-segment parameter to one segment', async () => {
  expect(await answer('POST', '/api/v1/builds/x/cancel')).toEqual({ id: 'x' });
  await expect(dispatch(routes, request('POST', '/api/v1/builds/x/y/cancel'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

it('says which methods a path takes, and refuses broken escapes', async () => {
  await expect(dispatch(routes, request('GET', '/api/v1/builds/x/cancel'))).rejects.toThrow(/takes POST/);
  await expect(dispatch(routes, request('GET', '/api/v1/images/%ff'))).rejects.toMatchObject({ code: 'USAGE' });
});

it('derives the status from the error table and hides nothing a client needs', async () => {
  const response = errorResponse(new SlipwayError('NOT_FOUND', 'no', { hint: 'look', details: { a: 1 } }));
  expect(response.status).toBe(404);
  expect(JSON.parse(String(response.body))).toEqual({
    error: { code: 'NOT_FOUND', message: 'no', hint: 'look', details: { a: 1 } },
  });
  expect(errorResponse(new Error('boom')).status).toBe(500);
});

it('carries events whole whatever way the bytes are cut, and an error as the last of them', async () => {
  async function* events() {
    yield { text: 'ä'.repeat(10) };
    yield { n: 2 };
    throw new SlipwayError('CONFLICT', 'late');
  }
  const whole = await readAll(ndjson(events()).body, 1e6, 'answer');
  for (const cut of [1, 2, 3, 7, 1000]) {
    async function* pieces() {
      for (let i = 0; i < whole.length; i += cut) yield whole.subarray(i, i + cut);
    }
    const seen = await Array.fromAsync(readLines(pieces()));
    expect(seen).toEqual([{ text: 'ä'.repeat(10) }, { n: 2 }, { error: { code: 'CONFLICT', message: 'late' } }]);
  }
});
