// Passes everything on to one server and writes down what was asked: which objects a build reads and writes, seen from outside.
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface CountingProxy extends AsyncDisposable {
  readonly url: string;
  /** `METHOD /path` of each request so far, the query left out. */
  readonly requests: readonly string[];
  /** Where everything goes. */
  aim(url: string): void;
}

export async function startCountingProxy(): Promise<CountingProxy> {
  const requests: string[] = [];
  let target: URL | undefined;
  const server: Server = createServer((incoming, outgoing) => {
    const fail = (): void => {
      if (outgoing.headersSent) outgoing.destroy();
      else outgoing.writeHead(502).end();
    };
    if (target === undefined) return fail();
    requests.push(`${incoming.method} ${decodeURIComponent((incoming.url ?? '').replace(/\?.*/, ''))}`);
    const { hostname, port } = target;
    const sent = request(
      { hostname, port, method: incoming.method ?? 'GET', path: incoming.url ?? '/', headers: incoming.headers },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.on('error', fail);
        answer.pipe(outgoing);
      },
    );
    sent.on('error', fail);
    outgoing.on('close', () => sent.destroy());
    incoming.pipe(sent);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    aim(url) {
      target = new URL(url);
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
