import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { hybridCgroups, probe } from '../../shared/sandbox/probe.ts';

test('a probe tries the home where it would be, and leaves nothing there', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-probe-'));
  try {
    const { checks, canRun } = await probe({ env: process.env, home: join(folder, 'not/yet') });
    expect(checks.find((check) => check.name === 'overlay in the home')?.detail).toContain(folder);
    expect(canRun).toBe(checks.every((check) => check.state !== 'missing'));
    for (const check of checks) if (check.state === 'missing') expect(check.fix).toBeTruthy();
    expect(readdirSync(folder)).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a home that overlayfs cannot write to means no RUN', async () => {
  const { checks, canRun } = await probe({ env: process.env, home: '/proc/1' });
  expect(canRun).toBe(false);
  expect(checks.find((check) => check.name === 'overlay in the home')).toMatchObject({
    state: 'missing',
    fix: expect.stringContaining('SLIPWAY_HOME'),
  });
});

test('hybrid control groups', () => {
  const v1 = '32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n';
  const v2 = '41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n';
  expect([hybridCgroups(v1 + v2), hybridCgroups(v1), hybridCgroups(v2)]).toEqual([true, false, false]);
});
