// Presigned URLs over a folder of blobs: a server that answers GET and PUT of exactly what it signed, and checks digests as S3 does.
import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { SlipwayError } from '../../shared/errors.ts';
import type { Digest } from '../../shared/oci/digest.ts';
import type { BlobLinks, BlobStat, Blobs } from '../../shared/store/blobs.ts';
import { homePorts } from './machine.ts';

export interface FakeBucket extends AsyncDisposable {
  /** The same blobs, with links and without files. */
  readonly blobs: Blobs;
  /** `GET sha256:...` and `PUT sha256:...`, in order. */
  readonly requests: string[];
}

export async function fakeBucket(inner: Blobs): Promise<FakeBucket> {
  const requests: string[] = [];
  const reads = new Map<string, Digest>();
  const writes = new Map<string, { readonly blob: BlobStat; body?: Buffer }>();
  const server = createServer((request, response) => {
    const answer = async (): Promise<void> => {
      const name = (request.url ?? '').slice(1);
      if (request.headers.authorization !== undefined) return void response.writeHead(400).end('two kinds of authorization');
      const digest = reads.get(name);
      if (request.method === 'GET' && digest !== undefined) {
        requests.push(`GET ${digest}`);
        const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
        const found = await inner.open(
          digest,
          range === null ? undefined : { start: Number(range[1]), end: Number(range[2]) + 1 },
        );
        if (found === undefined) return void response.writeHead(404).end();
        response.writeHead(range === null ? 200 : 206);
        return void Readable.fromWeb(found.body as never).pipe(response);
      }
      const write = writes.get(name);
      if (request.method === 'PUT' && write !== undefined) {
        requests.push(`PUT ${write.blob.digest}`);
        const chunks: Buffer[] = [];
        for await (const chunk of request) chunks.push(chunk as Buffer);
        const body = Buffer.concat(chunks);
        const checksum = createHash('sha256').update(body).digest();
        const right = request.headers['x-amz-checksum-sha256'] === checksum.toString('base64');
        if (!right || `sha256:${checksum.toString('hex')}` !== write.blob.digest)
          return void response.writeHead(400).end('BadDigest');
        write.body = body;
        return void response.writeHead(200).end();
      }
      response.writeHead(403).end();
    };
    answer().catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  homePorts.add(port);
  const origin = `http://127.0.0.1:${port}`;
  const link: BlobLinks = {
    async read(digest) {
      if ((await inner.stat(digest)) === undefined) return undefined;
      const name = randomBytes(16).toString('hex');
      reads.set(name, digest);
      return `${origin}/${name}`;
    },
    async write(blob) {
      const id = randomBytes(16).toString('hex');
      writes.set(id, { blob });
      const checksum = Buffer.from(blob.digest.slice('sha256:'.length), 'hex').toString('base64');
      return { url: `${origin}/${id}`, id, headers: { 'x-amz-checksum-sha256': checksum, 'content-length': String(blob.size) } };
    },
    async confirm(id, blob) {
      const body = writes.get(id)?.body;
      if (body === undefined) throw new SlipwayError('UPLOAD_UNKNOWN', `no bytes arrived for ${blob.digest}`);
      return inner.put(ReadableStream.from([body]), blob);
    },
  };
  const hidden = new Set<string | symbol>(['local', 'stage', 'adopt']);
  const blobs = new Proxy(inner, {
    get(target, name) {
      if (name === 'link') return link;
      if (hidden.has(name)) return undefined;
      const member = Reflect.get(target, name, target) as unknown;
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
  return {
    blobs,
    requests,
    async [Symbol.asyncDispose]() {
      homePorts.delete(port);
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
