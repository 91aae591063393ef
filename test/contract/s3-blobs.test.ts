import { randomUUID } from 'node:crypto';
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';
import { describe, inject, test } from 'vitest';
import { DynamoTable } from '../../shared/store/aws/dynamo-table.ts';
import { clientOptions } from '../support/aws.ts';
import { MiB } from './blobs-fixture.ts';
import { blobsSuite } from './blobs-suite.ts';
import { openBlobs } from './drivers.ts';
import { fadingSuite } from './fading-suite.ts';
import { memorySuite } from './memory-suite.ts';
import { s3Extras } from './s3-extras.ts';
import { uploadsSuite } from './uploads-suite.ts';

const aws = inject('aws');

if ('missing' in aws) {
  describe('S3Blobs', () => test.skip(aws.missing));
} else {
  const s3 = new S3Client({ ...clientOptions(aws.endpoint), forcePathStyle: true, requestChecksumCalculation: 'WHEN_REQUIRED' });
  const dynamo = new DynamoDBClient(clientOptions(aws.endpoint));

  const open = async () => {
    const id = randomUUID();
    const spec = { driver: 's3', endpoint: aws.endpoint, bucket: `b-${id}`, table: `t-${id}` } as const;
    await dynamo.send(new CreateTableCommand(DynamoTable.createTableInput(spec.table)));
    await s3.send(new CreateBucketCommand({ Bucket: spec.bucket }));
    const blobs = await openBlobs(spec);
    const objects = async (): Promise<string[]> => {
      const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: spec.bucket }));
      return Contents.map(({ Key }) => Key!);
    };
    return {
      blobs,
      spec,
      s3,
      another: () => openBlobs(spec),
      /** Objects beyond one per blob, and unfinished multipart uploads. */
      leftovers: async () => {
        const { Uploads = [] } = await s3.send(new ListMultipartUploadsCommand({ Bucket: spec.bucket }));
        const committed = (await blobs.list({ limit: 1000 })).length;
        return [...(await objects()).slice(committed), ...Uploads.map(({ Key }) => `multipart ${Key}`)];
      },
      /** The emulator keeps everything in memory. */
      async [Symbol.asyncDispose]() {
        for (const Key of await objects()) await s3.send(new DeleteObjectCommand({ Bucket: spec.bucket, Key }));
      },
    };
  };

  // Not 2 GiB: the emulator holds parts and object in memory at once. Enough to break the limit if it were held in ours.
  memorySuite('S3Blobs', open, { large: 224 * MiB, medium: 224 * MiB });
  blobsSuite('S3Blobs', open, { interrupted: 20 * MiB });
  uploadsSuite('S3Blobs', open, { interrupted: 20 * MiB });
  fadingSuite('S3Blobs', open);
  s3Extras(open);
}
