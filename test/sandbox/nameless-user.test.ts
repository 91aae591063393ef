// A user who is only a number, as in a container that was started with `-u 12345`.
import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';

const here = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);
const program = `
import { thisMachine } from ${here('../../shared/sandbox/rootless.ts')};
import { userHome } from ${here('../../shared/user-home.ts')};
const { user, uid, gid } = thisMachine({});
console.log(JSON.stringify([user, uid, gid, userHome({}), userHome({ HOME: '/h' })]));
`;

const why = process.getuid?.() === 0 ? undefined : 'needs root, to become somebody else';

it.skipIf(why !== undefined && !process.env.CI)(`has a machine and a home all the same${why ? ` (${why})` : ''}`, () => {
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    uid: 54321,
    gid: 54322,
    cwd: '/',
    env: {},
    encoding: 'utf8',
  });
  expect({ stdout: stdout.trim(), stderr }).toEqual({ stdout: '["54321",54321,54322,"/","/h"]', stderr: '' });
});
