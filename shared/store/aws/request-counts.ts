// Counts what the drivers ask of S3 and DynamoDB, where AWS does: each attempt that reaches it, the SDK's own retries included. Into the
// meter of whoever the driver works for; without one nothing is counted.
import type { AttributeValue, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { S3Client } from '@aws-sdk/client-s3';
import { currentMeter, type Meter } from '../../cost/meter.ts';
import { nameOf, statusOf } from './aws-error.ts';

type Headers = Readonly<Record<string, string | undefined>>;
type Item = Readonly<Record<string, AttributeValue>>;

const name = 'slipway-counts';
/** Around the answer's reading, below the SDK's retries: called for each attempt. */
const place = { step: 'deserialize', priority: 'high', name, override: true } as const;

/** A byte count from headers; 0 when none is told. */
const lengthOf = (from: unknown): number => {
  const { 'content-length': length } = ((from as { readonly headers?: Headers } | undefined)?.headers ?? {}) as Headers;
  return Number(length) || 0;
};

/**
 * S3 bills what it answers below 500, refusals too (ErrorCodeBilling in its guide). An answer that never came may have been billed, and is
 * counted. Bytes of a body that is read only in part count whole.
 */
export function countS3Requests(client: S3Client): void {
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const meter = currentMeter();
      if (meter === undefined) return next(args);
      const { commandName = '' } = context;
      const counter = counterOf(commandName);
      const sent = lengthOf(args.request);
      try {
        const result = await next(args);
        meter.count(counter, 1);
        if (sent > 0) meter.count('s3BytesIn', sent);
        // The answer to HEAD tells a length and has no body.
        const received = counter === 's3Reads' && !commandName.startsWith('Head') ? lengthOf(result.response) : 0;
        if (received > 0) meter.count('s3BytesOut', received);
        return result;
      } catch (error) {
        if ((statusOf(error) ?? 0) < 500) meter.count(counter, 1);
        throw error;
      }
    },
    place,
  );
}

/** As S3 bills them: GET and HEAD are one class, DELETE and abort are free, all others and lists are the other. */
function counterOf(commandName: string): string {
  if (/^(Delete|Abort)/.test(commandName)) return 's3Frees';
  return /^(Get|Head)/.test(commandName) ? 's3Reads' : 's3Writes';
}

/**
 * Request units as DynamoDB itself reports them; where an answer has no report (a failed condition, an answer that was lost, an emulator),
 * from the size of the items by the rules of its guide.
 */
export function countDynamoRequests(client: DynamoDBClient): void {
  client.middlewareStack.add(
    (next) => async (args) =>
      next(currentMeter() === undefined ? args : { ...args, input: { ...args.input, ReturnConsumedCapacity: 'TOTAL' } as never }),
    { step: 'initialize', name: `${name}-ask`, override: true },
  );
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const meter = currentMeter();
      if (meter === undefined) return next(args);
      const { commandName = '' } = context;
      meter.count('dynamodbRequests', 1);
      meter.count('dynamodbBytesIn', lengthOf(args.request));
      try {
        const result = await next(args);
        meter.count('dynamodbBytesOut', lengthOf(result.response));
        countUnits(meter, commandName, reportedUnits(result.output) ?? estimatedUnits(commandName, args.input, result.output));
        return result;
      } catch (error) {
        if (consumes(error)) countUnits(meter, commandName, estimatedUnits(commandName, args.input, undefined));
        throw error;
      }
    },
    place,
  );
}

const isRead = (commandName: string): boolean => /^(GetItem|BatchGet|Query)/.test(commandName);

function countUnits(meter: Meter, commandName: string, units: number): void {
  meter.count(isRead(commandName) ? 'dynamodbReadUnits' : 'dynamodbWriteUnits', units);
}

/** Whether a request that failed is paid for: a condition that did not hold is, and a lost answer may be; throttling and faults are not. */
function consumes(error: unknown): boolean {
  const status = statusOf(error);
  if (status === undefined) return true;
  const { CancellationReasons = [] } = error as { readonly CancellationReasons?: readonly { readonly Code?: string }[] };
  const codes = [nameOf(error), ...CancellationReasons.map(({ Code }) => Code)];
  const paid = [
    'ConditionalCheckFailedException',
    'ConditionalCheckFailed',
    'TransactionConflictException',
    'TransactionConflict',
  ];
  return codes.some((code) => code !== undefined && paid.includes(code));
}

interface Capacity {
  readonly CapacityUnits?: number;
}

function reportedUnits(output: unknown): number | undefined {
  const { ConsumedCapacity: told } = output as { readonly ConsumedCapacity?: Capacity | readonly Capacity[] };
  if (told === undefined) return undefined;
  const units = (Array.isArray(told) ? (told as readonly Capacity[]) : [told as Capacity]).map(
    ({ CapacityUnits }) => CapacityUnits,
  );
  if (units.length === 0 || units.some((one) => one === undefined)) return undefined;
  return units.reduce<number>((sum, one) => sum + one!, 0);
}

const kib = 1024;
const unitsOf = (bytes: number, unit: number): number => Math.max(1, Math.ceil(bytes / unit));

interface Put {
  readonly Item?: Item;
}

/** Writes cost one unit a KB of the item, twice in a transaction; strongly consistent reads one for 4 KB, at least one a record. */
function estimatedUnits(commandName: string, input: object, output: unknown): number {
  if (isRead(commandName)) {
    const found = output as
      | { readonly Item?: Item; readonly Items?: readonly Item[]; readonly Responses?: Readonly<Record<string, readonly Item[]>> }
      | undefined;
    if (!commandName.startsWith('BatchGet')) {
      const items = found?.Items ?? (found?.Item === undefined ? [] : [found.Item]);
      return unitsOf(
        items.reduce((sum, item) => sum + sizeOf(item), 0),
        4 * kib,
      );
    }
    const { RequestItems = {} } = input as {
      readonly RequestItems?: Readonly<Record<string, { readonly Keys?: readonly Item[] }>>;
    };
    const asked = Object.values(RequestItems).reduce((sum, { Keys = [] }) => sum + Keys.length, 0);
    const items = Object.values(found?.Responses ?? {}).flat();
    return items.reduce((sum, item) => sum + unitsOf(sizeOf(item), 4 * kib), Math.max(0, asked - items.length));
  }
  const { TransactItems } = input as { readonly TransactItems?: readonly { readonly Put?: Put }[] };
  const put = ({ Item: item }: Put): number => unitsOf(item === undefined ? 0 : sizeOf(item), kib);
  if (TransactItems === undefined) return put(input as Put);
  return TransactItems.reduce((sum, { Put: one = {} }) => sum + 2 * put(one), 0);
}

/** Bytes of names and values, as DynamoDB counts them. Our items have strings and numbers only. */
function sizeOf(item: Item): number {
  return Object.entries(item).reduce((sum, [key, { S, N }]) => {
    const value = S === undefined ? Math.ceil((N?.length ?? 0) / 2) + 1 : Buffer.byteLength(S);
    return sum + Buffer.byteLength(key) + value;
  }, 0);
}
