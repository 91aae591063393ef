// Drivers by description, so that another process can open what this one has open.
// The AWS drivers are loaded when asked for: a process that needs none of them starts in a third of the time.
import type { Blobs } from '../../shared/store/blobs.ts';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { SqliteTable } from '../../shared/store/sqlite-table.ts';
import type { Table } from '../../shared/store/table.ts';
import { clientOptions } from '../support/aws.ts';

export type TableSpec =
  | { readonly driver: 'sqlite'; readonly file: string }
  | { readonly driver: 'dynamo'; readonly endpoint: string; readonly table: string };

export type BlobsSpec =
  | { readonly driver: 'disk'; readonly root: string }
  | { readonly driver: 's3'; readonly endpoint: string; readonly bucket: string; readonly table: string };

/** `skew`: seconds by which the driver's clock is ahead. */
export async function openTable(spec: TableSpec, skew = 0): Promise<Table & Partial<Disposable>> {
  const now = () => Date.now() / 1000 + skew;
  if (spec.driver === 'sqlite') return SqliteTable.open(spec.file, { now });
  const { DynamoDBClient } = await import('@aws-sdk/client-dynamodb');
  const { DynamoTable } = await import('../../shared/store/aws/dynamo-table.ts');
  return new DynamoTable({ client: new DynamoDBClient(clientOptions(spec.endpoint)), table: spec.table, now });
}

export async function openBlobs(spec: BlobsSpec): Promise<Blobs> {
  if (spec.driver === 'disk') return DiskBlobs.open(spec.root);
  const { S3Client } = await import('@aws-sdk/client-s3');
  const { S3Blobs } = await import('../../shared/store/aws/s3-blobs.ts');
  const client = new S3Client({
    ...clientOptions(spec.endpoint),
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });
  return new S3Blobs({ client, bucket: spec.bucket, table: await openTable({ ...spec, driver: 'dynamo' }), prefix: 'home' });
}
