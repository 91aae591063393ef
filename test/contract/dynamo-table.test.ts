import { randomUUID } from 'node:crypto';
import { CreateTableCommand, DeleteTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { describe, inject, test } from 'vitest';
import { DynamoTable } from '../../shared/store/aws/dynamo-table.ts';
import { clientOptions } from '../support/aws.ts';
import { openTable } from './drivers.ts';
import { tableSuite } from './table-suite.ts';

const aws = inject('aws');

if ('missing' in aws) {
  describe('DynamoTable', () => test.skip(aws.missing));
} else {
  tableSuite('DynamoTable', async () => {
    const client = new DynamoDBClient(clientOptions(aws.endpoint));
    const spec = { driver: 'dynamo', endpoint: aws.endpoint, table: `t-${randomUUID()}` } as const;
    await client.send(new CreateTableCommand(DynamoTable.createTableInput(spec.table)));
    return {
      table: await openTable(spec),
      spec,
      later: (seconds) => openTable(spec, seconds),
      async [Symbol.asyncDispose]() {
        await client.send(new DeleteTableCommand({ TableName: spec.table }));
        client.destroy();
      },
    };
  });
}
