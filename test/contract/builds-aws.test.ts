import { randomUUID } from 'node:crypto';
import { CreateTableCommand, DeleteTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, inject, test } from 'vitest';
import { DynamoTable } from '../../shared/store/aws/dynamo-table.ts';
import type { Blobs } from '../../shared/store/blobs.ts';
import type { Table } from '../../shared/store/table.ts';
import { clientOptions } from '../support/aws.ts';
import { buildRecordsContract } from './builds-suite.ts';
import { openBlobs, openTable } from './drivers.ts';

const aws = inject('aws');

if ('missing' in aws) {
  describe('stored builds on DynamoTable and S3Blobs', () => test.skip(aws.missing));
} else {
  const id = randomUUID();
  const names = { endpoint: aws.endpoint, bucket: `b-${id}`, table: `t-${id}` };
  const dynamo = new DynamoDBClient(clientOptions(aws.endpoint));
  const s3 = new S3Client({ ...clientOptions(aws.endpoint), forcePathStyle: true });
  let home: { readonly table: Table; readonly blobs: Blobs };
  beforeAll(async () => {
    await dynamo.send(new CreateTableCommand(DynamoTable.createTableInput(names.table)));
    await s3.send(new CreateBucketCommand({ Bucket: names.bucket }));
    home = { table: await openTable({ driver: 'dynamo', ...names }), blobs: await openBlobs({ driver: 's3', ...names }) };
  });
  // The bucket and its objects go with the emulator.
  afterAll(async () => {
    await dynamo.send(new DeleteTableCommand({ TableName: names.table }));
    dynamo.destroy();
    s3.destroy();
  });
  buildRecordsContract('DynamoTable and S3Blobs', () => home);
}
