import { randomUUID } from 'node:crypto';
import { CreateTableCommand, DeleteTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { describe, inject, test } from 'vitest';
import { DynamoTable } from '../../shared/store/aws/dynamo-table.ts';
import { clientOptions } from '../support/aws.ts';
import { collectionSuite } from './collection-suite.ts';
import { openBlobs, openTable } from './drivers.ts';

const aws = inject('aws');

if ('missing' in aws) {
  describe('collection on DynamoTable and S3Blobs', () => test.skip(aws.missing));
} else {
  const open = async () => {
    const id = randomUUID();
    const names = { endpoint: aws.endpoint, bucket: `b-${id}`, table: `t-${id}` };
    const dynamo = new DynamoDBClient(clientOptions(aws.endpoint));
    const s3 = new S3Client({ ...clientOptions(aws.endpoint), forcePathStyle: true });
    await dynamo.send(new CreateTableCommand(DynamoTable.createTableInput(names.table)));
    await s3.send(new CreateBucketCommand({ Bucket: names.bucket }));
    return {
      table: await openTable({ driver: 'dynamo', ...names }),
      blobs: await openBlobs({ driver: 's3', ...names }),
      // The bucket and its objects go with the emulator.
      async [Symbol.asyncDispose]() {
        await dynamo.send(new DeleteTableCommand({ TableName: names.table }));
        dynamo.destroy();
        s3.destroy();
      },
    };
  };
  // Every call is a request: a few of the interleavings.
  collectionSuite('DynamoTable and S3Blobs', open, 12);
}
