import { expect, it } from 'vitest';
import { Channel } from '../../shared/build/channel.ts';

it('hands over what was pushed, in order, to the end', async () => {
  const channel = new Channel<number>();
  channel.push(1);
  const read = Array.fromAsync(channel.read());
  channel.push(2);
  await Promise.resolve();
  channel.push(3);
  channel.end();
  expect(await read).toEqual([1, 2, 3]);
});

it('makes the writer wait when nobody reads, and lets it go on when somebody does', async () => {
  const channel = new Channel<number>();
  let pushed = 0;
  const writer = (async () => {
    for (let i = 0; i < 5000; i++) {
      await channel.push(i);
      pushed += 1;
    }
    channel.end();
  })();
  await new Promise((resolve) => setImmediate(resolve));
  expect(pushed).toBeLessThan(200);
  expect((await Array.fromAsync(channel.read())).length).toBe(5000);
  await writer;
});

it('does not wait for a reader that went away', async () => {
  const channel = new Channel<number>();
  channel.push(0);
  for await (const first of channel.read()) {
    expect(first).toBe(0);
    break;
  }
  for (let i = 0; i < 5000; i++) await channel.push(i);
  channel.end();
});
