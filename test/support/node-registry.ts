// A registry of npm packages on the loopback that has one: the Node that runners install, as npm publishes it.
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { must } from './command.ts';
import { homePorts } from './machine.ts';

export interface NodeRegistry extends AsyncDisposable {
  readonly url: string;
  readonly asked: readonly string[];
}

/** `folder` keeps what it serves. Machines reach it, too. */
export async function nodeRegistry(folder: string, name: string, version: string): Promise<NodeRegistry> {
  await mkdir(folder, { recursive: true });
  await must(['npm', 'pack', '--silent', '--pack-destination', folder, `${name}@${version}`]);
  const file = `${name}-${version}.tgz`;
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    if (request.url !== `/${name}/-/${file}`) return void response.writeHead(404).end();
    pipeline(createReadStream(join(folder, file)), response).catch((error: unknown) => response.destroy(error as Error));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  homePorts.add(port);
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    async [Symbol.asyncDispose]() {
      homePorts.delete(port);
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
