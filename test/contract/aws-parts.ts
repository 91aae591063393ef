// A table and a bucket of their own on the local AWS, for suites that want both.
import { randomUUID } from 'node:crypto';
import { CreateTableCommand, DeleteTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { DynamoTable } from '../../shared/store/aws/dynamo-table.ts';
import { clientOptions } from '../support/aws.ts';
import { openBlobs, openTable } from './drivers.ts';

export async function awsParts(endpoint: string) {
  const id = randomUUID();
  const names = { endpoint, bucket: `b-${id}`, table: `t-${id}` };
  const dynamo = new DynamoDBClient(clientOptions(endpoint));
  const s3 = new S3Client({ ...clientOptions(endpoint), forcePathStyle: true });
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
}
