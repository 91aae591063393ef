import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { watchMemory } from './rss.ts';

const mega = 1024 * 1024;

/** Holds $MINE MiB, starts a child that holds $CHILD MiB, says `held` once both do, and ends when its standard input does. */
const parent = `
  const { spawn } = require('node:child_process');
  const mine = Buffer.alloc(Number(process.env.MINE) * 1048576, 1);
  const code = 'const b = Buffer.alloc(Number(process.env.CHILD) * 1048576, 1); process.stdout.write("x"); process.stdin.on("end", () => process.exit(b[0] - 1)).resume()';
  const child = spawn(process.execPath, ['-e', code], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdout.once('data', () => process.stdout.write('held'));
  process.stdin.on('end', () => child.stdin.end()).resume();
  child.on('close', () => process.exit(mine[0] - 1));
`;

describe.skipIf(!existsSync('/proc/self/status'))('watchMemory', () => {
  it('sums the tree and keeps the largest of its processes', async () => {
    const env = { ...process.env, MINE: '100', CHILD: '150' };
    const child = spawn(process.execPath, ['-e', parent], { env, stdio: ['pipe', 'pipe', 'inherit'] });
    using memory = watchMemory([child.pid!], 5);
    await once(child.stdout, 'data');
    memory.sample();
    const { sum, largest, samples } = memory.peak();
    expect(sum).toBeGreaterThan(250 * mega);
    expect(largest).toBeGreaterThan(150 * mega);
    expect(largest).toBeLessThan(250 * mega);
    expect(samples).toBeGreaterThan(1);
    child.stdin.end();
    await once(child, 'close');
  });

  it('outlives the processes it watches', async () => {
    const child = spawn('true');
    using memory = watchMemory([child.pid!], 1);
    await once(child, 'close');
    memory.sample();
    expect(memory.peak().samples).toBeGreaterThan(1);
  });
});
