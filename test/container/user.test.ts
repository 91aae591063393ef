import { expect, test } from 'vitest';
import { resolveUser } from '../../shared/container/user.ts';

const accounts = {
  passwd:
    'root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\napp:x:1000:1001::/home/app:/bin/sh\n2000:x:3000:3000::/two:/bin/sh\n',
  group: 'root:x:0:\nstaff:x:50:app,root\nwheel:x:10:root\napp:x:1001:app\n',
};

test.each([
  ['', { uid: 0, gid: 0, groups: [0, 50, 10], home: '/root' }],
  ['root', { uid: 0, gid: 0, groups: [0, 50, 10], home: '/root' }],
  ['0', { uid: 0, gid: 0, groups: [0, 50, 10], home: '/root' }],
  ['app', { uid: 1000, gid: 1001, groups: [1001, 50], home: '/home/app' }],
  ['1000', { uid: 1000, gid: 1001, groups: [1001, 50], home: '/home/app' }],
  ['app:staff', { uid: 1000, gid: 50, groups: [50], home: '/home/app' }],
  ['app:77', { uid: 1000, gid: 77, groups: [77], home: '/home/app' }],
  ['4242', { uid: 4242, gid: 0, groups: [0], home: '/' }],
  ['4242:4343', { uid: 4242, gid: 4343, groups: [4343], home: '/' }],
  ['2000', { uid: 3000, gid: 3000, groups: [3000], home: '/two' }],
  [':staff', { uid: 0, gid: 50, groups: [50], home: '/root' }],
])('%s', (spec, expected) => {
  expect(resolveUser(spec, accounts)).toEqual(expected);
});

test.each([
  ['ann', 'unable to find user ann: no matching entries in passwd file'],
  ['app:ann', 'unable to find group ann: no matching entries in group file'],
  ['-1', 'unable to find user -1'],
  ['4294967295', 'unable to find user 4294967295'],
  ['a:b:c', 'invalid user: a:b:c'],
])('%s is an error that names it', (spec, message) => {
  expect(() => resolveUser(spec, accounts)).toThrow(message);
});

test('without the files, numbers still do', () => {
  expect(resolveUser('5:6', { passwd: '', group: '' })).toEqual({ uid: 5, gid: 6, groups: [6], home: '/' });
  expect(resolveUser('', { passwd: '', group: '' })).toEqual({ uid: 0, gid: 0, groups: [0], home: '/' });
});
