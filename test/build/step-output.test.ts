import { expect, it } from 'vitest';
import { StepOutput } from '../../shared/build/step-output.ts';

const limits = { head: 10, tail: 8 };

async function passed(chunks: readonly (readonly ['stdout' | 'stderr', string | Uint8Array])[]): Promise<string[]> {
  const said: string[] = [];
  const output = new StepOutput({ output: (stream, text) => void said.push(`${stream}: ${text}`) }, limits);
  for (const [stream, chunk] of chunks) {
    const reused = Buffer.from(chunk);
    await output.write(stream, reused);
    reused.fill('?');
  }
  await output.end();
  return said;
}

it('passes on what is within the limit, per stream and in order', async () => {
  expect(
    await passed([
      ['stdout', 'one\n'],
      ['stderr', 'two\n'],
    ]),
  ).toEqual(['stdout: one\n', 'stderr: two\n']);
});

it('puts characters together that were cut apart', async () => {
  const [a, b] = [Buffer.from('é').subarray(0, 1), Buffer.from('é').subarray(1)];
  expect(
    await passed([
      ['stdout', a],
      ['stderr', 'x'],
      ['stdout', b],
    ]),
  ).toEqual(['stderr: x', 'stdout: é']);
  expect(await passed([['stdout', a]])).toEqual(['stdout: \ufffd']);
});

it('leaves the middle of a flood out, and says so, but not the end', async () => {
  const chunks = Array.from({ length: 1000 }, (_, index) => ['stdout', `${String(index).padStart(4, '0')}`] as const);
  const said = await passed(chunks);
  expect(said.slice(0, 3)).toEqual(['stdout: 0000', 'stdout: 0001', 'stdout: 00']);
  expect(said.slice(3)).toEqual([
    'stderr: \n[output clipped, log limit 10B reached: 3982 bytes left out here]\n',
    'stdout: 0998',
    'stdout: 0999',
  ]);
});

it('leaves nothing out of what is a little more than the limit', async () => {
  expect(await passed([['stdout', '0123456789abcdef']])).toEqual(['stdout: 0123456789', 'stdout: abcdef']);
});

it('cuts one chunk that is larger than everything', async () => {
  expect(await passed([['stdout', `head of it${'x'.repeat(100_000)}the tail`]])).toEqual([
    'stdout: head of it',
    'stderr: \n[output clipped, log limit 10B reached: 100000 bytes left out here]\n',
    'stdout: the tail',
  ]);
});
