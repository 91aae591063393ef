import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { HttpClient } from '../../shared/client/http.ts';

it('gives up on a server with which no connection comes about, without trying again', async () => {
  let connections = 0;
  // Takes the connection and never speaks TLS.
  const server = createServer(() => {
    connections += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  using client = new HttpClient({ userAgent: 'test', connection: 50, delays: [1, 1] });
  await expect(client.send({ method: 'GET', url: new URL(`https://127.0.0.1:${port}/v2/`) })).rejects.toMatchObject({
    code: 'UPSTREAM',
    message: `cannot reach 127.0.0.1:${port}: no connection within 0.05 s`,
  });
  // The kernel took it; that this process hears of it may come later than the giving up.
  await expect.poll(() => connections, { timeout: 30_000 }).toBe(1);
  server.close();
});
