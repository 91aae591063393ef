// Bodies that are short enough for memory: they can be sent again, and it is known that they pass a gateway.
import { BytesBody } from './api-client.ts';

/** Bytes of a body that is kept in memory while it is sent: what gateways pass, and a little more. */
const shortBody = 6 << 20;

/** What has at most `most` bytes is read, and is a BytesBody; what has more comes back as the stream it was, from its first byte. */
export async function inMemory<T extends AsyncIterable<Uint8Array> | null>(
  body: T,
  most = shortBody,
): Promise<AsyncIterable<Uint8Array> | T> {
  if (body === null || body instanceof BytesBody) return body;
  const start: Uint8Array[] = [];
  const iterator = body[Symbol.asyncIterator]();
  let size = 0;
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
    start.push(next.value);
    size += next.value.length;
    if (size > most) return continued(start, iterator);
  }
  return new BytesBody(Buffer.concat(start));
}

async function* continued(start: Uint8Array[], rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    // Let go of as they are read.
    for (let chunk = start.shift(); chunk !== undefined; chunk = start.shift()) yield chunk;
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}
