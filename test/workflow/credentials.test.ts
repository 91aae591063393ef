import { execFile } from 'node:child_process';
import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { loadArchive } from '../../shared/archive/load.ts';
import { closeCredentialAddresses, credentialAddresses } from '../../shared/sandbox/credential-addresses.ts';
import { accountHome, drive, eventsOf, requestOf, startBuild } from '../support/account-home.ts';
import { busyboxImage, busyboxReference } from '../support/base-images.ts';
import { runFakeCodebuild } from '../support/fake-microvm.ts';
import { jobHost } from '../support/job-host.ts';
import { whyNoRoot } from '../support/roots.ts';

const why = whyNoRoot('busybox');
const whyNoIp =
  process.getuid?.() !== 0 ? 'needs root' : existsSync('/usr/sbin/ip') || process.env.CI ? undefined : 'needs ip (iproute2)';

/** Everything a command could find out about the machine it runs on, said aloud. */
const spy = `FROM ${busyboxReference}
RUN env; cat /proc/*/environ /proc/*/cmdline /proc/*/task/*/environ 2>/dev/null | tr '\\0' '\\n'; \\
  ls -l /proc/*/fd /proc/*/cwd /proc/*/root 2>/dev/null; \\
  cat /proc/1/root/var/lib/slipway-runner/* /proc/self/mountinfo 2>/dev/null; \\
  find / -xdev -name '*.db' -o -xdev -name credentials 2>/dev/null; \\
  for v in $AWS_LAMBDA_RUNTIME_API $AWS_CONTAINER_CREDENTIALS_FULL_URI; do wget -T 1 -qO- http://$v/2018-06-01/runtime/invocation/next; done; echo looked
`;

test.skipIf(why)(
  'a RUN that looks everywhere finds neither the job’s token nor a credential of its machine',
  async () => {
    await using home = await accountHome();
    await using host = await jobHost(home);
    await loadArchive(home.fresh(), createReadStream((await busyboxImage()).archive));
    const tickets: string[] = [];
    const build = await drive(home, await startBuild(home, requestOf(spy)), async (id, stage) => {
      const { ticket, waiter } = await host.open(id, stage);
      tickets.push(ticket.token);
      await using runner = runFakeCodebuild(ticket, {
        AWS_ACCESS_KEY_ID: 'AKIACANARY',
        AWS_SECRET_ACCESS_KEY: 'canary-secret',
        AWS_SESSION_TOKEN: 'canary-session',
        AWS_LAMBDA_RUNTIME_API: '127.0.0.1:9',
      });
      await runner.ended;
      await host.wait(waiter);
    });
    expect(build.failure).toBeUndefined();
    const said = (await eventsOf(home, build.id)).flatMap((e) => (e.type === 'log' ? [e.text] : [])).join('');
    expect(said).toContain('looked');
    expect(said).toContain('PATH=');
    expect(tickets).toHaveLength(1);
    const canaries = ['AKIACANARY', 'canary-secret', 'canary-session', 'SLIPWAY_JOB', 'slipway-job-1'];
    for (const secret of [...tickets, ...tickets.map((token) => token.slice(-43)), ...canaries]) {
      expect(said).not.toContain(secret);
    }
  },
  60_000,
);

test.skipIf(whyNoIp)('the addresses of credentials are out of reach once they are closed', async () => {
  const module = join(import.meta.dirname, '../../shared/sandbox/credential-addresses.ts');
  const script = `
    import { connect } from 'node:net';
    import { closeCredentialAddresses } from ${JSON.stringify(module)};
    const reach = (host) => new Promise((resolve) => {
      const socket = connect({ host, port: 80, timeout: 2000 });
      socket.once('connect', () => resolve('connected'));
      socket.once('timeout', () => resolve('timeout'));
      socket.once('error', (error) => resolve(error.code));
      setTimeout(() => socket.destroy(), 2500).unref();
    });
    await closeCredentialAddresses();
    const seen = {};
    for (const host of ${JSON.stringify(credentialAddresses)}) seen[host] = await reach(host);
    console.log(JSON.stringify(seen));`;
  // A network of its own in which everything else has a way out.
  const setup =
    'ip link set lo up; ip link add d0 type dummy && ip addr add 10.9.0.1/24 dev d0 && ip link set d0 up && ip route add default dev d0; exec "$0" --input-type=module -e "$1"';
  const { stdout } = await promisify(execFile)('unshare', ['-n', 'sh', '-c', setup, process.execPath, script]);
  const seen = JSON.parse(stdout.trim().split('\n').at(-1) as string) as Record<string, string>;
  for (const address of credentialAddresses)
    expect([address, seen[address]]).toEqual([address, expect.stringMatching(/^E(HOST|NET)UNREACH$/)]);
});

test('where they cannot be closed, nothing is run', async () => {
  const refuse = () => Promise.reject(new Error('Operation not permitted'));
  await expect(closeCredentialAddresses(refuse)).rejects.toMatchObject({ code: 'SANDBOX_UNAVAILABLE' });
});
