// The two ports of an account: one table, one bucket.
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { S3Client } from '@aws-sdk/client-s3';
import type { ArchiveObjects } from '../shared/context/archive-object.ts';
import { DynamoTable } from '../shared/store/aws/dynamo-table.ts';
import type { Blobs } from '../shared/store/blobs.ts';
import { type Environment, required } from './environment.ts';

export const openTable = (env: Environment): DynamoTable =>
  new DynamoTable({ client: new DynamoDBClient({}), table: required(env, 'SLIPWAY_TABLE') });

/** Loads the S3 client, which functions without blobs do without. */
export async function openBlobs(env: Environment, table: DynamoTable): Promise<Blobs> {
  const [client, { S3Blobs }] = await Promise.all([s3(env), import('../shared/store/aws/s3-blobs.ts')]);
  return new S3Blobs({ client, bucket: required(env, 'SLIPWAY_BUCKET'), table });
}

/** What others put into the bucket to be built from. */
export async function openArchives(env: Environment): Promise<ArchiveObjects> {
  const [client, { ContextObjects }] = await Promise.all([s3(env), import('../shared/store/aws/context-objects.ts')]);
  return new ContextObjects({ client, bucket: required(env, 'SLIPWAY_BUCKET') });
}

let kept: Promise<S3Client> | undefined;

/** One client, and one set of connections, for all that a function does with the bucket. */
function s3(env: Environment): Promise<S3Client> {
  // Path style where the names of buckets are no host names: emulators.
  const forcePathStyle = env.SLIPWAY_S3_PATH_STYLE === 'true';
  kept ??= import('@aws-sdk/client-s3').then(
    ({ S3Client: Client }) => new Client({ requestChecksumCalculation: 'WHEN_REQUIRED', forcePathStyle }),
  );
  return kept;
}
