import { describe, expect, test } from 'vitest';
import { bindMount, hostEntry, networkMode, tmpfsMount } from '../../shared/container/run-flags.ts';

test.each([
  ['/a:/b', { source: '/a', target: '/b', readonly: false }],
  ['/a:/b/:ro', { source: '/a', target: '/b', readonly: true }],
  ['./a:/b:rw', { source: '/here/a', target: '/b', readonly: false }],
  ['.:/b', { source: '/here', target: '/b', readonly: false }],
])('-v %s', (text, expected) => {
  expect(bindMount(text, '/here')).toEqual({ kind: 'bind', ...expected });
});

test.each([
  ['data:/b', /no named volumes/],
  ['~:/b', /~ is your folder to the shell alone/],
  ['~/a:/b', /~ is your folder to the shell alone/],
  ['/a', /invalid volume: \/a/],
  ['/a:b', /must be absolute/],
  ['/a:/', /must be absolute and not \//],
  ['/a:/b:z', /unknown mode z/],
  ['/a:/b:ro:x', /invalid volume/],
])('-v %s is refused', (text, message) => {
  expect(() => bindMount(text, '/')).toThrow(expect.objectContaining({ message: expect.stringMatching(message), exit: 125 }));
});

test('--tmpfs', () => {
  expect(tmpfsMount('/t')).toEqual({ kind: 'tmpfs', target: '/t' });
  expect(tmpfsMount('/t:size=64m,mode=700')).toEqual({ kind: 'tmpfs', target: '/t', size: 64 * 1024 * 1024, mode: 0o700 });
  expect(() => tmpfsMount('/t:exec')).toThrow(/invalid tmpfs option exec/);
});

describe('network and hosts', () => {
  test('networks', () => {
    expect([networkMode(undefined), networkMode('host'), networkMode('none')]).toEqual(['host', 'host', 'none']);
    expect(() => networkMode('bridge')).toThrow(/network bridge is not supported/);
  });
  test('hosts', () => {
    expect([hostEntry('a:1.2.3.4'), hostEntry('a=::1'), hostEntry('a:[::1]')]).toEqual([
      ['a', '1.2.3.4'],
      ['a', '::1'],
      ['a', '::1'],
    ]);
    expect(() => hostEntry('a')).toThrow(/bad format/);
    expect(() => hostEntry('a:b')).toThrow(/invalid IP address in add-host: "b"/);
  });
});
