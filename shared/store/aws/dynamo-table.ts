// Table on one DynamoDB table: `pk` and `sk` are the key, `doc` the value's JSON, `ver` the version token and `expires` the TTL
// attribute. DynamoDB removes expired items within days, so every condition and filter here looks at `expires` itself. Reads are
// strongly consistent.
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type AttributeValue,
  BatchGetItemCommand,
  type CancellationReason,
  type CreateTableCommandInput,
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  type TransactWriteItem,
  TransactWriteItemsCommand,
} from '@aws-sdk/client-dynamodb';
import { SlipwayError, throwIfCancelled } from '../../errors.ts';
import type { Options } from '../blobs.ts';
import type { Condition, Json, Key, Query, Table, TableRecord, Write } from '../table.ts';
import {
  checkExpiry,
  checkKey,
  checkQuery,
  checkWrites,
  compareBytes,
  conflict,
  encodeValue,
  upperBound,
} from '../table-rules.ts';
import { awsError, nameOf } from './aws-error.ts';
import { countDynamoRequests } from './request-counts.ts';

type Item = Record<string, AttributeValue>;

/** BatchGetItem's limit. */
const batchLimit = 100;
/** Tries of a write that met another transaction on the same item, about 3 s in all. */
const conflictTries = 10;

export interface DynamoTableOptions {
  readonly client: DynamoDBClient;
  /** The table's name or ARN. */
  readonly table: string;
  /** Seconds since 1970; decides what has expired. */
  readonly now?: () => number;
}

export class DynamoTable implements Table {
  readonly #client: DynamoDBClient;
  readonly #table: string;
  readonly #now: () => number;

  constructor({ client, table, now = () => Date.now() / 1000 }: DynamoTableOptions) {
    this.#client = client;
    countDynamoRequests(client);
    this.#table = table;
    this.#now = now;
  }

  /** The table this driver needs, for tests; infra/ declares the same for an account. TTL on `expires` is switched on separately. */
  static createTableInput(table: string): CreateTableCommandInput {
    return {
      TableName: table,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [
        { AttributeName: 'pk', AttributeType: 'S' },
        { AttributeName: 'sk', AttributeType: 'S' },
      ],
      KeySchema: [
        { AttributeName: 'pk', KeyType: 'HASH' },
        { AttributeName: 'sk', KeyType: 'RANGE' },
      ],
    };
  }

  async get(key: Key, options?: Options): Promise<TableRecord | undefined> {
    checkKey(key);
    const { Item } = await this.#call(options, 'read a record', (abort) =>
      this.#client.send(new GetItemCommand({ TableName: this.#table, Key: keyOf(key), ConsistentRead: true }), abort),
    );
    return this.#live(Item);
  }

  async getMany(keys: readonly Key[], options?: Options): Promise<readonly (TableRecord | undefined)[]> {
    for (const key of keys) checkKey(key);
    throwIfCancelled(options?.signal);
    const found = new Map<string, TableRecord | undefined>();
    // BatchGetItem refuses a key that is named twice.
    const distinct = [...new Map(keys.map((key) => [nameOfKey(key), key])).values()];
    const batches: Promise<void>[] = [];
    for (let at = 0; at < distinct.length; at += batchLimit) {
      batches.push(this.#getBatch(distinct.slice(at, at + batchLimit), found, options));
    }
    await Promise.all(batches);
    return keys.map((key) => found.get(nameOfKey(key)));
  }

  async put(
    key: Key,
    value: Json,
    write: { readonly condition?: Condition; readonly expires?: number } = {},
    options?: Options,
  ): Promise<string> {
    checkKey(key);
    const version = newVersion();
    const input = {
      TableName: this.#table,
      Item: itemOf(key, value, version, write.expires),
      ...this.#condition(write.condition),
    };
    try {
      await this.#call(options, 'write a record', (abort) => this.#client.send(new PutItemCommand(input), abort));
    } catch (error) {
      const current = this.#failed(error);
      if (current === undefined) throw error;
      // The condition failed on our own write: its answer was lost and the SDK sent it again.
      if (current.record?.version !== version) throw conflict(key, current.record);
    }
    return version;
  }

  async delete(
    key: Key,
    write: { readonly condition?: { readonly ifVersion: string } } = {},
    options?: Options,
  ): Promise<boolean> {
    checkKey(key);
    const input = {
      TableName: this.#table,
      Key: keyOf(key),
      ReturnValues: 'ALL_OLD' as const,
      ...this.#condition(write.condition),
    };
    try {
      const { Attributes } = await this.#call(options, 'delete a record', (abort) =>
        this.#client.send(new DeleteItemCommand(input), abort),
      );
      return this.#live(Attributes) !== undefined;
    } catch (error) {
      const current = this.#failed(error);
      throw current === undefined ? error : conflict(key, current.record);
    }
  }

  async query(partition: string, query: Query, options?: Options): Promise<readonly TableRecord[]> {
    checkQuery(partition, query);
    throwIfCancelled(options?.signal);
    const start = startOf(query);
    if (start === undefined) return [];
    let startKey: Item | undefined = start.from === undefined ? undefined : keyOf({ partition, sort: start.from });
    const prefix = query.prefix ?? '';
    const records: TableRecord[] = [];
    do {
      const page = await this.#call(options, 'query records', (abort) =>
        this.#client.send(
          new QueryCommand({
            TableName: this.#table,
            ConsistentRead: true,
            KeyConditionExpression: prefix === '' ? 'pk = :p' : 'pk = :p AND begins_with(sk, :s)',
            FilterExpression: live,
            ExpressionAttributeValues: {
              ':p': { S: partition },
              ...(prefix === '' ? {} : { ':s': { S: prefix } }),
              ':now': this.#nowValue(),
            },
            // Limit counts items before the filter, so a page may come out short, or empty, with more to follow.
            Limit: query.limit - records.length,
            ScanIndexForward: query.reverse !== true,
            ExclusiveStartKey: startKey,
          }),
          abort,
        ),
      );
      records.push(...(page.Items ?? []).map(recordOf));
      startKey = page.LastEvaluatedKey;
    } while (startKey !== undefined && records.length < query.limit);
    return records;
  }

  async transact(writes: readonly Write[], options?: Options): Promise<void> {
    checkWrites(writes);
    throwIfCancelled(options?.signal);
    if (writes.length === 0) return;
    const items = writes.map((write) => this.#transactItem(write));
    for (let attempt = 1; ; attempt++) {
      try {
        // The token makes the SDK's own retries, after an answer was lost, one transaction. A cancelled one gets a new token.
        const input = { TransactItems: items, ClientRequestToken: randomUUID() };
        await this.#client.send(new TransactWriteItemsCommand(input), abortOf(options));
        return;
      } catch (error) {
        const reasons = reasonsOf(error);
        const index = reasons.findIndex((reason) => reason.Code === 'ConditionalCheckFailed');
        if (index >= 0) throw conflict(writes[index]!.key, this.#live(reasons[index]!.Item));
        if (!isTransient(error, reasons) || attempt === conflictTries) {
          throw awsError(error, `DynamoDB ${this.#table}: write ${writes.length} records together`, options?.signal);
        }
        await backoff(attempt, options);
      }
    }
  }

  #transactItem(write: Write): TransactWriteItem {
    const condition = this.#condition(write.condition);
    if (write.kind === 'put') {
      return { Put: { TableName: this.#table, Item: itemOf(write.key, write.value, newVersion(), write.expires), ...condition } };
    }
    const target = { TableName: this.#table, Key: keyOf(write.key) };
    if (write.kind === 'delete') return { Delete: { ...target, ...condition } };
    return { ConditionCheck: { ...target, ...this.#check(write.condition) } };
  }

  async #getBatch(keys: readonly Key[], found: Map<string, TableRecord | undefined>, options?: Options): Promise<void> {
    let asked: Item[] = keys.map(keyOf);
    for (let attempt = 1; asked.length > 0; attempt++) {
      const answer = await this.#call(options, 'read records', (abort) =>
        this.#client.send(
          new BatchGetItemCommand({ RequestItems: { [this.#table]: { Keys: asked, ConsistentRead: true } } }),
          abort,
        ),
      );
      const items = answer.Responses?.[this.#table] ?? [];
      for (const item of items) {
        const record = this.#live(item);
        if (record !== undefined) found.set(nameOfKey(record), record);
      }
      // What did not fit into 16 MB comes back, as does what was throttled; only the latter calls for patience.
      asked = answer.UnprocessedKeys?.[this.#table]?.Keys ?? [];
      if (asked.length > 0 && items.length === 0) {
        if (attempt >= conflictTries) {
          throw new SlipwayError('STORE', `DynamoDB ${this.#table}: read records: throttled ${attempt} times in a row`);
        }
        await backoff(attempt, options);
      } else {
        attempt = 0;
      }
    }
  }

  #condition(condition: Condition | undefined) {
    return condition === undefined ? {} : this.#check(condition);
  }

  #check(condition: Condition) {
    const values: Item = { ':now': this.#nowValue() };
    if ('ifVersion' in condition) values[':v'] = { S: condition.ifVersion };
    return {
      ConditionExpression: 'ifAbsent' in condition ? 'attribute_not_exists(pk) OR expires <= :now' : `ver = :v AND ${live}`,
      ExpressionAttributeValues: values,
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD' as const,
    };
  }

  /** The record now there, when the error is that a single write's condition did not hold. */
  #failed(error: unknown): { readonly record: TableRecord | undefined } | undefined {
    const cause = error instanceof SlipwayError ? error.cause : undefined;
    if (nameOf(cause) !== 'ConditionalCheckFailedException') return undefined;
    return { record: this.#live((cause as { readonly Item?: Item }).Item) };
  }

  #live(item: Item | undefined): TableRecord | undefined {
    if (item === undefined || Object.keys(item).length === 0) return undefined;
    const record = recordOf(item);
    return record.expires !== undefined && record.expires <= this.#now() ? undefined : record;
  }

  #nowValue(): AttributeValue {
    return { N: String(this.#now()) };
  }

  /** One request. A single write that meets a transaction on the same item is refused and tried again. */
  async #call<T>(
    options: Options | undefined,
    what: string,
    send: (abort: { abortSignal?: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    throwIfCancelled(options?.signal);
    for (let attempt = 1; ; attempt++) {
      try {
        return await send(abortOf(options));
      } catch (error) {
        if (nameOf(error) !== 'TransactionConflictException' || attempt === conflictTries) {
          throw awsError(error, `DynamoDB ${this.#table}: ${what}`, options?.signal);
        }
        await backoff(attempt, options);
      }
    }
  }
}

const live = '(attribute_not_exists(expires) OR expires > :now)';

const newVersion = (): string => randomBytes(12).toString('base64url');

const keyOf = (key: Key): Item => ({ pk: { S: key.partition }, sk: { S: key.sort } });

const nameOfKey = (key: Key): string => JSON.stringify([key.partition, key.sort]);

const abortOf = (options: Options | undefined): { abortSignal?: AbortSignal } =>
  options?.signal === undefined ? {} : { abortSignal: options.signal };

function itemOf(key: Key, value: Json, version: string, expires: number | undefined): Item {
  const item: Item = { ...keyOf(key), doc: { S: encodeValue(key, value) }, ver: { S: version } };
  const seconds = checkExpiry(expires);
  if (seconds !== undefined) item.expires = { N: String(seconds) };
  return item;
}

function recordOf(item: Item): TableRecord {
  const { pk, sk, doc, ver, expires } = item;
  if (pk?.S === undefined || sk?.S === undefined || doc?.S === undefined || ver?.S === undefined) {
    throw new SlipwayError('STORE', `DynamoDB item ${pk?.S} ${sk?.S} is not one of ours`);
  }
  const record = { partition: pk.S, sort: sk.S, value: JSON.parse(doc.S) as Json, version: ver.S };
  return expires?.N === undefined ? record : { ...record, expires: Number(expires.N) };
}

/** Where a query starts, undefined when it is over before. DynamoDB refuses a start key that its own key condition excludes, so those cases are decided here. */
function startOf({ prefix = '', after, reverse = false }: Query): { readonly from: string | undefined } | undefined {
  if (after === undefined) return { from: undefined };
  const above = upperBound(prefix);
  const belowAll = after === '' || compareBytes(after, prefix) < 0;
  const aboveAll = prefix !== '' && above !== undefined && compareBytes(after, above) >= 0;
  if (belowAll) return reverse ? undefined : { from: undefined };
  if (aboveAll) return reverse ? { from: undefined } : undefined;
  return { from: after };
}

function reasonsOf(error: unknown): readonly CancellationReason[] {
  if (nameOf(error) !== 'TransactionCanceledException') return [];
  return (error as { readonly CancellationReasons?: readonly CancellationReason[] }).CancellationReasons ?? [];
}

const transientReasons = new Set(['TransactionConflict', 'ThrottlingError', 'ProvisionedThroughputExceeded']);

function isTransient(error: unknown, reasons: readonly CancellationReason[]): boolean {
  const name = nameOf(error);
  return (
    name === 'TransactionInProgressException' || reasons.some(({ Code }) => Code !== undefined && transientReasons.has(Code))
  );
}

/** Waits 20 ms, 40 ms, ... to 640 ms, each cut by chance so that two that met do not meet again. */
async function backoff(attempt: number, options: Options | undefined): Promise<void> {
  const delay = Math.min(20 * 2 ** (attempt - 1), 640) * (0.5 + Math.random() / 2);
  try {
    await sleep(delay, undefined, options?.signal === undefined ? {} : { signal: options.signal });
  } catch (error) {
    throw options?.signal?.aborted ? new SlipwayError('CANCELLED', 'cancelled', { cause: error }) : error;
  }
}
