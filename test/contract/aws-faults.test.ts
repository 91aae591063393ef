// What the AWS drivers do when answers are lost, connections break and transactions meet: faults put between the SDK and the emulator.
import { createHash, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { CreateBucketCommand, ListMultipartUploadsCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { beforeEach, describe, expect, inject, test } from 'vitest';
import type { Digest } from '../../shared/oci/digest.ts';
import { DynamoTable } from '../../shared/store/aws/dynamo-table.ts';
import { S3Blobs } from '../../shared/store/aws/s3-blobs.ts';
import { clientOptions } from '../support/aws.ts';
import { pattern, patternDigest } from './pattern.ts';
import { failure } from './table-suite.ts';

const MiB = 1 << 20;
const aws = inject('aws');
const key = { partition: 'p', sort: 's' };

interface Plan {
  /** The answer of the next request of this command is lost; the SDK may send it again, and gets `repeated` if that is given. */
  lose(command: string, repeated?: Error): void;
  /** The next `times` requests of this command fail with this error and are not sent. */
  fail(command: string, error: Error, times?: number): void;
  /** How many requests of this command were sent. */
  sent(command: string): number;
}

function faults(client: S3Client | DynamoDBClient): Plan {
  const lost: string[] = [];
  const failing: { command: string; error: Error; left: number }[] = [];
  const answers = new Map<string, Error>();
  const sent = new Map<string, number>();
  // Both clients have this method, with types of their own that do not unite.
  const { middlewareStack } = client as S3Client;
  middlewareStack.add(
    (next, context) => async (args) => {
      const command = context.commandName!;
      const refused = failing.find((one) => one.command === command && one.left > 0);
      if (refused !== undefined) {
        refused.left--;
        throw refused.error;
      }
      sent.set(command, (sent.get(command) ?? 0) + 1);
      const answer = await next(args);
      if (!lost.includes(command)) return answer;
      lost.splice(lost.indexOf(command), 1);
      const repeated = answers.get(command);
      if (repeated !== undefined) failing.push({ command, error: repeated, left: 1 });
      throw Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
    },
    { step: 'deserialize', priority: 'low', name: 'faults' },
  );
  return {
    lose(command, repeated) {
      lost.push(command);
      if (repeated !== undefined) answers.set(command, repeated);
    },
    fail: (command, error, times = 1) => void failing.push({ command, error, left: times }),
    sent: (command) => sent.get(command) ?? 0,
  };
}

const exception = (name: string, more: object = {}): Error =>
  Object.assign(new Error(name), { name, $metadata: { httpStatusCode: 400 }, $fault: 'client', ...more });

describe.skipIf('missing' in aws)(`AWS drivers under faults${'missing' in aws ? ` (${aws.missing})` : ''}`, () => {
  const { endpoint } = aws as { readonly endpoint: string };
  let table: DynamoTable;
  let blobs: S3Blobs;
  let dynamo: Plan;
  let s3: Plan;
  let bucket: string;
  let s3Client: S3Client;
  beforeEach(async () => {
    const id = randomUUID();
    const dynamoClient = new DynamoDBClient(clientOptions(endpoint));
    s3Client = new S3Client({ ...clientOptions(endpoint), forcePathStyle: true, requestChecksumCalculation: 'WHEN_REQUIRED' });
    await dynamoClient.send(new CreateTableCommand(DynamoTable.createTableInput(`t-${id}`)));
    bucket = `b-${id}`;
    await s3Client.send(new CreateBucketCommand({ Bucket: bucket }));
    dynamo = faults(dynamoClient);
    s3 = faults(s3Client);
    table = new DynamoTable({ client: dynamoClient, table: `t-${id}` });
    blobs = new S3Blobs({ client: s3Client, bucket, table });
  });

  const objects = async (): Promise<number> => {
    const { KeyCount = 0 } = await s3Client.send(new ListObjectsV2Command({ Bucket: bucket }));
    const { Uploads = [] } = await s3Client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
    return KeyCount + Uploads.length;
  };
  const readBack = async (digest: Digest): Promise<string> => {
    const hash = createHash('sha256');
    for await (const chunk of (await blobs.open(digest))!.body) hash.update(chunk);
    return `sha256:${hash.digest('hex')}`;
  };

  test('a conditional put whose answer was lost is known to be its own', async () => {
    dynamo.lose('PutItemCommand');
    const version = await table.put(key, 1, { condition: { ifAbsent: true } });
    expect(dynamo.sent('PutItemCommand')).toBe(2);
    expect(await table.get(key)).toMatchObject({ value: 1, version });
    dynamo.lose('PutItemCommand');
    const next = await table.put(key, 2, { condition: { ifVersion: version } });
    expect(await table.get(key)).toMatchObject({ value: 2, version: next });
  });

  test('a transaction whose answer was lost is one transaction', async () => {
    dynamo.lose('TransactWriteItemsCommand');
    await table.transact([{ kind: 'put', key, value: 1, condition: { ifAbsent: true } }]);
    expect(dynamo.sent('TransactWriteItemsCommand')).toBe(2);
    expect((await table.get(key))?.value).toBe(1);
  });

  test('a transaction that met another is tried again, and not for ever', async () => {
    const conflict = () =>
      exception('TransactionCanceledException', { CancellationReasons: [{ Code: 'None' }, { Code: 'TransactionConflict' }] });
    dynamo.fail('TransactWriteItemsCommand', conflict(), 3);
    await table.transact([{ kind: 'put', key, value: 1 }]);
    expect((await table.get(key))?.value).toBe(1);
    dynamo.fail('PutItemCommand', exception('TransactionConflictException'), 2);
    await table.put(key, 2);
    expect((await table.get(key))?.value).toBe(2);
    dynamo.fail('TransactWriteItemsCommand', conflict(), 1000);
    expect((await failure(table.transact([{ kind: 'put', key, value: 3 }]))).code).toBe('STORE');
    expect((await table.get(key))?.value).toBe(2);
  });

  test('a wait for another transaction ends when cancelled', async () => {
    const conflict = exception('TransactionCanceledException', { CancellationReasons: [{ Code: 'TransactionConflict' }] });
    dynamo.fail('TransactWriteItemsCommand', conflict, 1000);
    const signal = AbortSignal.timeout(100);
    expect((await failure(table.transact([{ kind: 'put', key, value: 1 }], { signal }))).code).toBe('CANCELLED');
  });

  test.each(['PutObjectCommand', 'TransactWriteItemsCommand'])(
    'a small put survives the loss of the answer to %s',
    async (command) => {
      for (const plan of [s3, dynamo]) plan.lose(command);
      const { digest } = await blobs.put(pattern(1, 0, MiB));
      expect(await readBack(digest)).toBe(digest);
      expect(await objects()).toBe(1);
    },
  );

  test.each(['UploadPartCommand', 'CompleteMultipartUploadCommand', 'TransactWriteItemsCommand'])(
    'a large put survives the loss of the answer to %s',
    async (command) => {
      const digest = await patternDigest(2, 20 * MiB);
      for (const plan of [s3, dynamo]) plan.lose(command);
      expect(await blobs.put(pattern(2, 0, 20 * MiB), { digest })).toEqual({ digest, size: 20 * MiB });
      expect(await readBack(digest)).toBe(digest);
      expect(await objects()).toBe(1);
    },
  );

  test.each([
    'PutItemCommand',
    'UploadPartCommand',
    'PutObjectCommand',
    'CompleteMultipartUploadCommand',
    'TransactWriteItemsCommand',
  ])('an upload survives the loss of the answer to %s', async (command) => {
    const { id } = await blobs.begin();
    for (const plan of [s3, dynamo]) plan.lose(command);
    await blobs.append(id, 0, pattern(3, 0, 9 * MiB));
    const digest = await patternDigest(3, 9 * MiB);
    expect(await blobs.finish(id, { digest })).toEqual({ digest, size: 9 * MiB });
    expect(await readBack(digest)).toBe(digest);
    expect(await objects()).toBe(1);
  });

  test('an object put together by a request whose answer was lost is found', async () => {
    // S3 answers a repeated CompleteMultipartUpload with success for a while, and then with this.
    const gone = exception('NoSuchUpload', { $metadata: { httpStatusCode: 404 } });
    const digest = await patternDigest(7, 20 * MiB);
    s3.lose('CompleteMultipartUploadCommand', gone);
    expect(await blobs.put(pattern(7, 0, 20 * MiB), { digest })).toEqual({ digest, size: 20 * MiB });
    expect(await readBack(digest)).toBe(digest);
    const { id } = await blobs.begin();
    await blobs.append(id, 0, pattern(8, 0, 9 * MiB));
    dynamo.fail('TransactWriteItemsCommand', exception('AccessDeniedException'));
    expect((await failure(blobs.finish(id, {}))).code).toBe('STORE');
    // Now the tail cannot be sent to the upload any more.
    s3.fail('UploadPartCommand', gone);
    expect(await blobs.finish(id, {})).toMatchObject({ digest: await patternDigest(8, 9 * MiB) });
  });

  test('an upload that vanished from S3 is unknown', async () => {
    const { id } = await blobs.begin();
    await blobs.append(id, 0, pattern(9, 0, 8 * MiB));
    s3.fail('CompleteMultipartUploadCommand', exception('NoSuchUpload', { $metadata: { httpStatusCode: 404 } }));
    expect((await failure(blobs.finish(id, {}))).code).toBe('UPLOAD_UNKNOWN');
  });

  test('a finish cut off after S3 had put the object together is finished by the next', async () => {
    const { id } = await blobs.begin();
    await blobs.append(id, 0, pattern(4, 0, 9 * MiB));
    const digest = await patternDigest(4, 9 * MiB);
    dynamo.fail('TransactWriteItemsCommand', exception('AccessDeniedException'));
    expect((await failure(blobs.finish(id, { digest }))).code).toBe('STORE');
    expect(await blobs.stat(digest)).toBeUndefined();
    expect(await blobs.finish(id, { digest })).toEqual({ digest, size: 9 * MiB });
    expect(await readBack(digest)).toBe(digest);
  });

  test('a part that S3 refuses fails the append and leaves what was counted', async () => {
    const { id } = await blobs.begin();
    await blobs.append(id, 0, pattern(5, 0, 8 * MiB));
    s3.fail('UploadPartCommand', exception('InvalidRequest'));
    expect((await failure(blobs.append(id, 8 * MiB, pattern(5, 8 * MiB, 30 * MiB)))).code).toBe('STORE');
    const { offset } = (await blobs.upload(id))!;
    expect(offset).toBe(8 * MiB);
    await blobs.append(id, offset, pattern(5, offset, 12 * MiB));
    const digest = await patternDigest(5, 20 * MiB);
    expect(await blobs.finish(id, { digest })).toMatchObject({ size: 20 * MiB });
    expect(await readBack(digest)).toBe(digest);
  });

  test('a download whose connection breaks goes on where it was', async () => {
    const size = 3 * MiB;
    const { digest } = await blobs.put(pattern(6, 0, size));
    let broken = 0;
    s3Client.middlewareStack.add(
      (next, context) => async (args) => {
        const result = await next(args);
        if (context.commandName !== 'GetObjectCommand' || broken >= 2) return result;
        broken++;
        const output = result.output as { Body: Readable };
        const whole = output.Body;
        output.Body = Readable.from(
          (async function* () {
            let given = 0;
            for await (const chunk of whole) {
              yield chunk;
              given += chunk.length;
              if (given > MiB) throw Object.assign(new Error('aborted'), { code: 'ECONNRESET' });
            }
          })(),
          { objectMode: false },
        );
        return result;
      },
      { step: 'initialize', name: 'break' },
    );
    expect(await readBack(digest)).toBe(digest);
    expect(broken).toBe(2);
    expect(s3.sent('GetObjectCommand')).toBe(3);
  });
});
