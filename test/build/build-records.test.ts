// Stored builds on SQLite and disk; test/contract/builds-aws.test.ts runs the same on DynamoDB and S3.
import { afterAll, beforeAll } from 'vitest';
import { buildRecordsContract } from '../contract/builds-suite.ts';
import { type StoreHome, storeHome } from '../support/store-home.ts';

let home: StoreHome;
beforeAll(async () => {
  home = await storeHome();
});
afterAll(() => home[Symbol.asyncDispose]());

buildRecordsContract('SqliteTable and DiskBlobs', () => home);
