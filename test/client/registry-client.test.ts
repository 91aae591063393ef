import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import type { HttpOptions } from '../../shared/client/http.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import { empty, json } from '../../shared/registry/exchange.ts';
import { collect } from '../../shared/stream/collect.ts';
import { cutOff, startUpstream } from '../support/upstream.ts';

const big = randomBytes(3_000_000);
const blob = { digest: sha256(big), size: big.length };
const outgoing = (bytes: Buffer) => ({
  digest: sha256(bytes),
  size: bytes.length,
  open: async (start: number) => ReadableStream.from([bytes.subarray(start)]),
});

async function withBlob(http: Partial<HttpOptions> = {}) {
  const upstream = await startUpstream({ http });
  await upstream.home.blobs.put(ReadableStream.from([big]));
  await upstream.home.catalog.link('app', blob.digest, blob.size);
  return upstream;
}

test('a broken transfer is taken up where it broke', async () => {
  await using upstream = await withBlob();
  const ranges: (string | undefined)[] = [];
  upstream.hook = async (call, next) => {
    const reply = await next(call);
    if (!call.path.includes('/blobs/')) return reply;
    const range = call.header('range');
    ranges.push(range);
    const from = Number(range?.slice(6, -1) ?? 0);
    return ranges.length < 3 ? { ...reply, body: cutOff(big.subarray(from), 700_000) as never } : reply;
  };
  const got = await collect(upstream.client.blob('app', blob), big.length);
  expect(Buffer.compare(got, big)).toBe(0);
  expect(ranges).toHaveLength(3);
  expect(ranges[0]).toBe(undefined);
  expect(ranges[2]).toMatch(/^bytes=\d+-$/);
});

test('a registry without ranges sends all again, and what was read is skipped', async () => {
  await using upstream = await withBlob();
  let times = 0;
  upstream.hook = async (call, next) => {
    const plain = { ...call, method: call.method, path: call.path, query: call.query, body: call.body, signal: call.signal };
    const reply = await next({ ...plain, header: (name) => (name === 'range' ? undefined : call.header(name)) });
    return call.path.includes('/blobs/') && times++ === 0 ? { ...reply, body: cutOff(big, 1_000_001) as never } : reply;
  };
  expect(Buffer.compare(await collect(upstream.client.blob('app', blob), big.length), big)).toBe(0);
});

test('a transfer that breaks again and again ends in UPSTREAM', async () => {
  await using upstream = await withBlob();
  upstream.hook = async (call, next) => {
    const reply = await next(call);
    return call.path.includes('/blobs/') ? { ...reply, body: cutOff(big, 600_000) as never } : reply;
  };
  const reading = collect(upstream.client.blob('app', blob), big.length);
  await expect(reading).rejects.toMatchObject({ code: 'UPSTREAM', message: expect.stringContaining('several times') });
});

test('a lying registry: too many bytes, other bytes, another range', async () => {
  await using upstream = await withBlob();
  const small = { digest: blob.digest, size: 10 };
  await expect(collect(upstream.client.blob('app', small), 100)).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
  upstream.hook = async (call, next) => {
    if (!call.path.includes('/blobs/')) return next(call);
    return { status: 200, headers: { 'content-length': '4' }, body: Buffer.from('evil') as Uint8Array<ArrayBuffer> };
  };
  const wrong = { digest: sha256('good'), size: 4 };
  await expect(upstream.client.document('app', wrong, 100)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  await expect(upstream.home.blobs.put(upstream.client.blob('app', wrong), wrong)).rejects.toMatchObject({
    code: 'DIGEST_MISMATCH',
  });
});

test('a manifest of another digest than asked for, or than announced, is DIGEST_MISMATCH', async () => {
  await using upstream = await startUpstream();
  const digest = await upstream.pushImage('app', 'v1', 'x');
  expect((await upstream.client.manifest('app', digest))?.digest).toBe(digest);
  upstream.hook = async (call, next) => {
    const reply = await next(call);
    return reply.body instanceof Uint8Array && call.path.includes('manifests')
      ? {
          ...reply,
          body: Buffer.from(Buffer.from(reply.body).toString().replace('"layers"', '"Layers"')) as Uint8Array<ArrayBuffer>,
        }
      : reply;
  };
  for (const reference of [digest, 'v1']) {
    await expect(upstream.client.manifest('app', reference)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  }
});

test('429 is waited out as asked, and told when it lasts', async () => {
  await using upstream = await startUpstream();
  await upstream.pushImage('app', 'v1', 'x');
  let refusals = 2;
  const said = { errors: [{ code: 'TOOMANYREQUESTS', message: 'You have reached your pull rate limit' }] };
  upstream.hook = (call, next) =>
    call.path.includes('manifests') && refusals-- > 0 ? json(429, said, { 'retry-after': '7' }) : next(call);
  expect(await upstream.client.manifest('app', 'v1')).toBeDefined();
  expect(upstream.waits).toEqual([7000, 7000]);
  refusals = 100;
  await expect(upstream.client.manifest('app', 'v1')).rejects.toMatchObject({
    code: 'TOO_MANY_REQUESTS',
    message: 'toomanyrequests: You have reached your pull rate limit',
    hint: expect.stringContaining('log in'),
  });
  refusals = 1;
  upstream.waits.length = 0;
  upstream.hook = (call, next) =>
    call.path.includes('manifests') && refusals-- > 0 ? json(429, said, { 'retry-after': '3600' }) : next(call);
  await expect(upstream.client.manifest('app', 'v1')).rejects.toMatchObject({ code: 'TOO_MANY_REQUESTS' });
  expect(upstream.waits).toEqual([]);
});

test('5xx is tried again with growing pauses, then UPSTREAM', async () => {
  await using upstream = await startUpstream();
  upstream.hook = (call, next) => (call.path === '/v2/' ? next(call) : empty(503));
  await expect(upstream.client.manifest('app', 'v1')).rejects.toMatchObject({ code: 'UPSTREAM' });
  expect(upstream.waits).toEqual([250, 750, 2000]);
});

test('a redirect is followed without the credentials when it leaves the host', async () => {
  await using upstream = await startUpstream({ credentials: { username: 'ann', password: 'secret' } });
  await using store = await startUpstream();
  const seen: (string | undefined)[] = [];
  store.hook = (call) => {
    seen.push(call.header('authorization'));
    return { status: 200, headers: { 'content-length': String(big.length) }, body: big as Uint8Array<ArrayBuffer> };
  };
  upstream.hook = (call, next) => {
    if (call.header('authorization') === undefined) return empty(401, { 'www-authenticate': 'Basic' });
    return call.path.includes('/blobs/') ? empty(307, { location: `http://${store.host}/there` }) : next(call);
  };
  expect((await collect(upstream.client.blob('app', blob), big.length)).length).toBe(big.length);
  expect(seen).toEqual([undefined]);
});

test.each(['http://169.254.169.254/x', 'ftp://127.0.0.1/x', 'http://0.0.0.0:1/x'])(
  'a redirect to %s is refused',
  async (location) => {
    await using upstream = await startUpstream();
    upstream.hook = (call, next) => (call.path.includes('/blobs/') ? empty(302, { location }) : next(call));
    await expect(collect(upstream.client.blob('app', blob), 10)).rejects.toMatchObject({ code: 'DENIED' });
  },
);

test('redirects in a circle end', async () => {
  await using upstream = await startUpstream();
  upstream.hook = (call, next) => (call.path.includes('/blobs/') ? empty(302, { location: call.path }) : next(call));
  await expect(collect(upstream.client.blob('app', blob), 10)).rejects.toMatchObject({ code: 'UPSTREAM' });
});

test('an upload: one PUT, and the blob is there', async () => {
  await using upstream = await startUpstream();
  const sent: number[] = [];
  expect(await upstream.client.upload('app', outgoing(big), { onBytes: (n) => sent.push(n) })).toBe('uploaded');
  expect(await upstream.client.hasBlob('app', blob.digest)).toBe(true);
  expect(sent.at(-1)).toBe(big.length);
  expect(upstream.calls.filter((c) => c.startsWith('PATCH'))).toEqual([]);
});

test('a registry that takes no large body gets chunks', async () => {
  await using upstream = await startUpstream();
  const lengths: number[] = [];
  const bytes = randomBytes(9_000_000);
  upstream.hook = async (call, next) => {
    const length = Number(call.header('content-length') ?? 0);
    if (call.method === 'PATCH') lengths.push(length);
    if (length <= 5_000_000) return next(call);
    for await (const _ of call.body) {
      // A gateway reads it all before it says no.
    }
    return empty(413);
  };
  expect(await upstream.client.upload('app', outgoing(bytes))).toBe('uploaded');
  expect(lengths).toEqual([4194304, 4194304, 9_000_000 - 2 * 4194304]);
  expect(await upstream.client.hasBlob('app', sha256(bytes))).toBe(true);
});

test('an upload whose connection breaks begins again', async () => {
  await using upstream = await startUpstream();
  let breaks = 2;
  upstream.hook = async (call, next) => {
    if (call.method === 'PUT' && breaks-- > 0) throw new Error('connection cut by the test');
    return next(call);
  };
  expect(await upstream.client.upload('app', outgoing(big))).toBe('uploaded');
  expect(upstream.calls.filter((c) => c.startsWith('POST'))).toHaveLength(3);
});

test('a mount moves nothing; where it is refused the blob is sent', async () => {
  await using upstream = await withBlob();
  expect(await upstream.client.upload('copy', outgoing(big), { from: 'app' })).toBe('mounted');
  expect(await upstream.client.upload('other', outgoing(big), { from: 'none' })).toBe('uploaded');
});

test('tags come page after page', async () => {
  await using upstream = await startUpstream();
  for (const tag of ['a', 'b', 'c']) await upstream.pushImage('app', tag, 'x');
  upstream.hook = async (call, next) =>
    next({
      ...call,
      query: call.query.replace('n=1000', 'n=2'),
      method: call.method,
      path: call.path,
      header: (n) => call.header(n),
      body: call.body,
      signal: call.signal,
    });
  const tags: string[] = [];
  for await (const tag of upstream.client.tags('app')) tags.push(tag);
  expect(tags).toEqual(['a', 'b', 'c']);
  await expect(upstream.client.tags('none').next()).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('what a registry says reaches the terminal without its control characters', async () => {
  await using upstream = await startUpstream();
  upstream.hook = (call, next) =>
    call.path === '/v2/' ? next(call) : json(403, { errors: [{ code: 'DENIED', message: '\u001b[2Jgone\u202e' }] });
  await expect(upstream.client.manifest('app', 'v1')).rejects.toMatchObject({ code: 'DENIED', message: 'denied:  [2Jgone ' });
});

test('a manifest or an error larger than its limit is not read', async () => {
  await using upstream = await startUpstream();
  const huge = Buffer.alloc(5_000_000, 32) as Uint8Array<ArrayBuffer>;
  upstream.hook = (call, next) =>
    call.path === '/v2/' ? next(call) : { status: 200, headers: { 'content-type': mediaType.ociManifest }, body: huge };
  await expect(upstream.client.manifest('app', 'v1')).rejects.toMatchObject({ code: 'UPSTREAM' });
});

test('nobody there', async () => {
  const upstream = await startUpstream();
  await upstream[Symbol.asyncDispose]();
  await expect(upstream.client.manifest('app', 'v1')).rejects.toMatchObject({
    code: 'UPSTREAM',
    message: expect.stringContaining('connection refused'),
  });
});

test('a server that goes silent is given up', async () => {
  await using upstream = await startUpstream({ http: { silence: 50, delays: [] } });
  upstream.hook = (call, next) => (call.path === '/v2/' ? next(call) : new Promise(() => undefined));
  await expect(upstream.client.manifest('app', 'v1')).rejects.toMatchObject({
    code: 'UPSTREAM',
    message: expect.stringContaining('no answer in time'),
  });
});

test('a server that takes a question and never answers is asked once more, and no longer', async () => {
  // Long enough for the question before, which is answered.
  await using upstream = await startUpstream({ http: { answer: 400, delays: [0, 0, 0] } });
  let asked = 0;
  upstream.hook = (call, next) => {
    if (call.path === '/v2/') return next(call);
    asked++;
    return new Promise(() => undefined);
  };
  await expect(upstream.client.manifest('app', 'v1')).rejects.toMatchObject({
    code: 'UPSTREAM',
    message: expect.stringMatching(/^cannot reach 127\.0\.0\.1:\d+: no answer within 0\.4 s$/),
    hint: expect.stringContaining('the right address'),
  });
  expect(asked).toBe(2);
});

test('an answer that began may take its time', async () => {
  await using upstream = await withBlob({ answer: 1000 });
  upstream.hook = async (call, next) => {
    const reply = await next(call);
    if (call.method !== 'GET' || !call.path.includes('/blobs/')) return reply;
    async function* slowly() {
      for (let at = 0; at < 5; at++) {
        yield big.subarray(at * 1000, (at + 1) * 1000);
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
      yield big.subarray(5000);
    }
    return { ...reply, body: { size: big.length, open: async () => ReadableStream.from(slowly()) } };
  };
  expect(await collect(upstream.client.blob('app', blob), big.length)).toEqual(big);
});

test('cancelling ends a transfer', async () => {
  await using upstream = await withBlob();
  upstream.hook = (call, next) => (call.path === '/v2/' ? next(call) : new Promise(() => undefined));
  const stop = new AbortController();
  const reading = collect(upstream.client.blob('app', blob, stop.signal), big.length);
  setTimeout(() => stop.abort(), 20);
  await expect(reading).rejects.toMatchObject({ code: 'CANCELLED' });
});
