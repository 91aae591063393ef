// The two ports of an account: one table, one bucket.
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoTable } from '../shared/store/aws/dynamo-table.ts';
import type { Blobs } from '../shared/store/blobs.ts';
import { type Environment, required } from './environment.ts';

export const openTable = (env: Environment): DynamoTable =>
  new DynamoTable({ client: new DynamoDBClient({}), table: required(env, 'SLIPWAY_TABLE') });

/** Loads the S3 client, which functions without blobs do without. */
export async function openBlobs(env: Environment, table: DynamoTable): Promise<Blobs> {
  const [{ S3Client }, { S3Blobs }] = await Promise.all([
    import('@aws-sdk/client-s3'),
    import('../shared/store/aws/s3-blobs.ts'),
  ]);
  // Path style where the names of buckets are no host names: emulators.
  const client = new S3Client({
    requestChecksumCalculation: 'WHEN_REQUIRED',
    forcePathStyle: env.SLIPWAY_S3_PATH_STYLE === 'true',
  });
  return new S3Blobs({ client, bucket: required(env, 'SLIPWAY_BUCKET'), table });
}
