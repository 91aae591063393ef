import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isWithheld, launchWords, quote } from '../../shared/sandbox/script.ts';

test('a quoted word is that word to the shell, whatever is in it', () => {
  const word = fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0') && text.isWellFormed());
  fc.assert(
    // Many words a shell: its start is what costs.
    fc.property(fc.array(word, { minLength: 1, maxLength: 100, size: 'max' }), (words) => {
      const said = execFileSync('sh', ['-c', `printf '%s\\0' ${words.map(quote).join(' ')}`], { encoding: 'utf8' });
      expect(said).toBe(words.map((one) => `${one}\0`).join(''));
    }),
    { numRuns: 10 },
  );
}, 60_000);

const launch = {
  args: ['id', '-u'],
  env: ['PATH=/bin'],
  cwd: '/w d',
  user: { uid: 7, gid: 8, groups: [9, 10] },
  tools: { env: '/usr/bin/env', setpriv: '/usr/bin/setpriv', launcher: '/run/slipway' },
  dropped: [2, 21],
};

test('the launch chain: environment, capabilities and groups, root, user, command', () => {
  expect(launchWords(launch)).toEqual([
    ...['/usr/bin/env', '-i', '--', 'PATH=/bin'],
    ...[
      '/usr/bin/setpriv',
      '--inh-caps',
      '-cap_2,-cap_21',
      '--bounding-set',
      '-cap_2,-cap_21',
      '--groups',
      '9,10',
      '--regid',
      '8',
      '--',
    ],
    ...['/run/slipway', '--root=.', '--wd=/w d', '--setuid', '7', '--', 'id', '-u'],
  ]);
});

test('what the C library reads never reaches a program of the machine', () => {
  const words = launchWords({
    ...launch,
    env: ['PATH=/bin', 'LD_PRELOAD=./evil.so', 'GLIBC_TUNABLES=x', 'TMPDIR=/t', 'OLD_LD_=1'],
  });
  const before = words.slice(0, words.indexOf('/run/slipway'));
  expect(before).toContain('OLD_LD_=1');
  expect(before.filter(isWithheld)).toEqual([]);
  expect(words.slice(-6)).toEqual([
    ...['/bin/sh', '-c', `export LD_PRELOAD=./evil.so GLIBC_TUNABLES=x TMPDIR=/t; exec "$@"`, 'sh', 'id', '-u'],
  ]);
});
