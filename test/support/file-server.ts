// A small HTTP server on the loopback for ADD URL: fixed bodies by path, anything else is 404.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface FileServer extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
}

export async function serveFiles(files: Readonly<Record<string, Uint8Array | string>>): Promise<FileServer> {
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    if (path === '/redirect') {
      response.writeHead(302, { location: '/plain.txt' }).end();
      return;
    }
    const body = files[path];
    if (body === undefined) {
      response.writeHead(404).end('not here\n');
      return;
    }
    const bytes = Buffer.from(body);
    response.writeHead(200, {
      'content-length': bytes.length,
      'content-type': 'application/octet-stream',
      'last-modified': 'Thu, 02 Jan 2020 03:04:05 GMT',
    });
    response.end(request.method === 'HEAD' ? undefined : bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
