// What a RUN can get at on a runner: through the real program, on a machine whose cloud gives credentials to whoever reaches it.
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { bundleProgram } from '../../infra/program-bundle.ts';
import { loadArchive } from '../../shared/archive/load.ts';
import { hookPrefix } from '../../shared/workflow/run-hooks.ts';
import { accountHome, drive, eventsOf, project, requestOf, sendContext, startBuild } from '../support/account-home.ts';
import { busyboxImage, busyboxReference } from '../support/base-images.ts';
import { fakeServices } from '../support/fake-runner-services.ts';
import { jobHost } from '../support/job-host.ts';
import { homePorts } from '../support/machine.ts';
import { canaries, internetAddress, runtimeApi } from '../support/machine-process.ts';
import { whyNoRoot } from '../support/roots.ts';
import { eventually } from '../support/sandboxed.ts';

const why = whyNoRoot('busybox');

/** One request by busybox; its own client for HTTP crashes where it is linked statically. */
const ask = (host: string, port: number | string, words: string, ...headers: readonly string[]): string =>
  `printf '${[`${words} HTTP/1.0`, ...headers, '', ''].join('\\r\\n')}' | nc -w 1 ${host} ${port}`;

const role = 'GET /latest/meta-data/iam/security-credentials/execution_role';
/** Where AWS hands out credentials: IMDS with and without a session, ECS and CodeBuild, EKS, both by IPv6, and a runtime's API. */
const endpoints = [
  ask('169.254.169.254', 80, role),
  ask('169.254.169.254', 80, 'PUT /latest/api/token', 'X-aws-ec2-metadata-token-ttl-seconds: 60'),
  ask('169.254.170.2', 80, 'GET /v2/credentials/canary'),
  ask('169.254.170.23', 80, 'GET /v1/credentials'),
  ask('fd00:ec2::254', 80, role),
  ask('fd00:ec2::23', 80, 'GET /v1/credentials'),
  ask(runtimeApi.split(':')[0]!, runtimeApi.split(':')[1]!, 'GET /2018-06-01/runtime/invocation/next'),
];
/** The machine, by every address that it has. */
const machine = ['127.0.0.1', '10.77.0.2', '192.0.2.1', '::1', 'fd77::2'];
const hooksPort = 9000;

/** Everything else a command could find out about the machine it runs on, said aloud. */
const spy = (ports: readonly number[]): string =>
  [
    'echo looking',
    'env',
    "cat /proc/*/environ /proc/*/cmdline /proc/*/task/*/environ 2>/dev/null | tr '\\0' '\\n'",
    'ls -l /proc/*/fd /proc/*/cwd /proc/*/root /proc/*/ns 2>/dev/null',
    'cat /proc/1/root/var/lib/slipway-runner/* /var/lib/slipway-runner/job/* /proc/self/mountinfo /proc/net/unix 2>/dev/null',
    'strings /proc/kcore 2>/dev/null | head -c 1000',
    "find / -xdev '(' -name '*.db' -o -name credentials -o -name handler.js ')' 2>/dev/null",
    'nsenter -t 1 -n -m cat /etc/hostname 2>/dev/null',
    'unshare -U -n true 2>/dev/null',
    'mount -t proc proc /mnt 2>/dev/null && cat /mnt/*/environ',
    'mknod /tmp/mem c 1 1 2>/dev/null && head -c 100 /tmp/mem',
    'ip route del unreachable 169.254.0.0/16 2>/dev/null',
    'ip route add 169.254.169.254/32 dev eth0 2>/dev/null',
    ...endpoints,
    ...machine.flatMap((host) => [
      ask(host, hooksPort, `POST ${hookPrefix}terminate`),
      ...ports.slice(0, 1).map((port) => ask(host, port, 'POST /api/v1/jobs')),
    ]),
    'echo looked',
    // What it is to be able to do.
    'nslookup registry.example.test',
    ask(internetAddress, 80, 'GET /packages').replace('nc -w 1', 'nc -w 20'),
  ].join('\n');

let program: string;
beforeAll(() => {
  program = mkdtempSync(join(tmpdir(), 'slw-runner-'));
  bundleProgram('runner', program);
  return () => rmSync(program, { recursive: true, force: true });
}, 120_000);

test.skipIf(why).each([
  ['a MicroVM', 'linux/arm64'],
  ['CodeBuild', 'linux/amd64'],
])(
  'on %s a RUN that tries everything gets no credential, no token and no way to the machine, and still the internet',
  async (_, platform) => {
    await using home = await accountHome();
    await using host = await jobHost(home);
    const env = {
      AWS_ACCESS_KEY_ID: 'AKIAENVIRONMENT',
      AWS_SECRET_ACCESS_KEY: 'environment-secret',
      AWS_SESSION_TOKEN: 'environment-session',
      AWS_LAMBDA_RUNTIME_API: runtimeApi,
    };
    await using services = await fakeServices(program, { env });
    await loadArchive(home.fresh(), createReadStream((await busyboxImage()).archive));
    const ports = [...homePorts];
    expect(ports.length).toBeGreaterThan(1);
    const tokens: string[] = [];
    let before: readonly string[] = [];
    let plain = '';
    // From a file: its words are not to be found in its own command line.
    const id = await sendContext(home.fresh(), { 'spy.sh': spy(ports) });
    const dockerfile = `FROM ${busyboxReference}\nCOPY spy.sh /\nRUN sh /spy.sh\n`;
    const context = { kind: 'stored' as const, id, project };
    const build = await drive(home, await startBuild(home, requestOf(dockerfile, { context })), async (id, stage) => {
      const launcher = host.launcher(services.machines);
      const { ticket, handle } = await launcher.start(id, stage, platform, 'waiter');
      tokens.push(ticket.token);
      const runner = services.runner(handle)!;
      // A plain process of the same machine gets all of it, while the job is on its way.
      plain = await runner.machine.output(endpoints.join('; ').replaceAll('| nc -w 1', '| busybox nc -w 10'));
      await eventually(() => runner.machine.hits.length >= endpoints.length, 'each endpoint was asked');
      before = [...runner.machine.hits];
      await host.wait('waiter');
      expect(runner.machine.hits).toEqual(before);
      await launcher.stop(id, stage);
    });
    for (const canary of canaries) expect(plain).toContain(canary);
    expect(before).toHaveLength(endpoints.length);

    expect(build.failure).toBeUndefined();
    const said = (await eventsOf(home, build.id)).flatMap((e) => (e.type === 'log' ? [e.text] : [])).join('');
    expect(said).toContain('looking');
    expect(said).toContain('PATH=');
    expect(said).toMatch(/looked[\s\S]*the internet/);
    expect(said).toContain(internetAddress);
    expect(tokens).toHaveLength(1);
    const secrets = [
      ...canaries,
      ...tokens,
      ...tokens.map((token) => token.slice(-43)),
      ...Object.values(env),
      'SLIPWAY_JOB',
      'X-Amz-Signature',
      'slipway-job-1',
      'AWS_',
      'handler.js',
    ];
    for (const secret of secrets) expect(said).not.toContain(secret);
    // Nobody answered before the internet did, not even with a refusal.
    expect(said.slice(0, said.indexOf('looked'))).not.toContain('HTTP/1.');
  },
  180_000,
);
