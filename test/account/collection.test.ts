// Collecting as it is deployed: the function of the stack of production on a local AWS, called as EventBridge calls it.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { invokeLocally } from '../../infra/local-stack.ts';
import { deployAccount, type TestAccount } from '../support/account.ts';
import { whyNoAws } from '../support/aws.ts';

const missing = whyNoAws();
let account: TestAccount;
const collect = (event: object) => invokeLocally(account.aws, account.outputs.CollectFunction ?? '', event);

describe.skipIf(missing !== undefined)(`collecting in an account${missing === undefined ? '' : ` (${missing})`}`, () => {
  beforeAll(async () => {
    account = await deployAccount({ bundled: true });
  });
  afterAll(() => account[Symbol.asyncDispose]());

  test('goes through the table and the bucket, says what it did, and is not due again for a day', async () => {
    const first = await collect({});
    expect(first).toMatchObject({ state: 'done', done: true, collected: { blobs: 0, strays: 0 } });
    expect(await collect({})).toMatchObject({ state: 'not due', began: first.began });
    const asked = await collect({ now: true });
    expect(asked).toMatchObject({ state: 'done' });
    expect(asked.began).toBeGreaterThan(first.began as number);
  });
});
