// A context on its way to an account: the command line's sender, the API, presigned URLs, S3 and DynamoDB.
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { describe, expect, inject, test } from 'vitest';
import { Api } from '../../cli/api-client.ts';
import { Remote } from '../../cli/remote.ts';
import { sendContext } from '../../cli/send-context.ts';
import { storedContext } from '../../shared/build/stored-context.ts';
import { walkDirectory } from '../../shared/context/walk.ts';
import { DynamoTable } from '../../shared/store/aws/dynamo-table.ts';
import { openBody } from '../../shared/tar/write.ts';
import { apiServer } from '../support/api-server.ts';
import { clientOptions } from '../support/aws.ts';
import { tempFolder } from '../support/temp.ts';
import { openBlobs, openTable } from './drivers.ts';

const aws = inject('aws');

describe('a context for an account', () => {
  test.skipIf('missing' in aws)('goes straight to the bucket, once, and comes out as it was', async () => {
    if ('missing' in aws) return;
    await using folder = await tempFolder();
    const id = randomUUID();
    const names = { endpoint: aws.endpoint, bucket: `b-${id}`, table: `t-${id}` };
    await new DynamoDBClient(clientOptions(aws.endpoint)).send(new CreateTableCommand(DynamoTable.createTableInput(names.table)));
    const s3 = new S3Client({ ...clientOptions(aws.endpoint), forcePathStyle: true });
    await s3.send(new CreateBucketCommand({ Bucket: names.bucket }));
    const stores = { table: await openTable({ driver: 'dynamo', ...names }), blobs: await openBlobs({ driver: 's3', ...names }) };
    const context = join(folder.path, 'context');
    await mkdir(join(context, 'd'), { recursive: true });
    await writeFile(join(context, 'large'), randomBytes(5 << 20));
    for (let i = 0; i < 300; i++) await writeFile(join(context, 'd', `${i}`), `content ${i}`);

    const env = { HOME: folder.path };
    await using server = await apiServer({ env: { ...env, SLIPWAY_HOME: join(folder.path, 'home') }, stores });
    const login = { registryToken: server.token };
    using remote = new Remote({ url: server.url, chosenBy: 'the test', project: 'p', login }, { env, now: Date.now });
    const { signal } = new AbortController();
    const client = new Api((request, options) => remote.fetch(request, options), server.url, signal);
    const send = async () => await sendContext(client, remote, await walkDirectory(context, { now: Date.now }), signal);

    const first = await send();
    expect(first).toMatchObject({ project: 'p', bodies: 301 });
    expect(server.contents()).toBe(0);
    expect(server.requests.filter((name) => name === 'POST /blobs')).toHaveLength(2);
    expect(await send()).toEqual({ ...first, bodies: 0, bytes: 0 });

    const source = await storedContext(stores, 'p', first.id);
    const here = await walkDirectory(context, { now: Date.now });
    for (const path of ['large', 'd/0', 'd/299']) {
      const entry = source.list.get(path)!;
      const read = async (from: typeof source.body) =>
        Buffer.concat(await Array.fromAsync(await openBody(await from(entry), entry.size, signal)));
      expect(await read(source.body)).toEqual(await read((one) => here.bodies.body(one)));
    }
  });
});
