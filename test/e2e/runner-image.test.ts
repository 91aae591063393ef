// The programs of runners where AWS runs them: in containers that have only what their image has. The image of MicroVMs is built by Slipway
// from the Dockerfile that Lambda is given; on CodeBuild the stack's buildspec installs what the machine lacks.
import { type ChildProcess, spawn } from 'node:child_process';
import { createReadStream, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bundleProgram } from '../../infra/program-bundle.ts';
import { loadArchive } from '../../shared/archive/load.ts';
import { accountHome, drive, eventsOf, requestOf, startBuild } from '../support/account-home.ts';
import { amazonLinux, amazonLinuxReference, codebuildReference, whyNoAmazonLinux } from '../support/amazon-linux.ts';
import { busyboxImage, busyboxReference } from '../support/base-images.ts';
import { cli } from '../support/cli.ts';
import { attempt, must } from '../support/command.ts';
import { type FakeServices, fakeServices } from '../support/fake-runner-services.ts';
import { jobHost } from '../support/job-host.ts';
import type { Machine } from '../support/machine.ts';
import { internetAddress } from '../support/machine-process.ts';
import { type NodeRegistry, nodeRegistry } from '../support/node-registry.ts';
import { whyNoRoot } from '../support/roots.ts';
import { scratch } from '../support/scratch.ts';

const why = whyNoRoot('busybox') ?? whyNoAmazonLinux();
const long = 600_000;

const root = join(import.meta.dirname, '../..');
const version = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: { node: string } }).dependencies
  .node;
const architecture = process.arch === 'arm64' ? 'arm64' : 'x64';
const tarball = `/node-linux-${architecture}/-/node-linux-${architecture}-${version}.tgz`;
const npm = (folder: string): Promise<NodeRegistry> => nodeRegistry(folder, `node-linux-${architecture}`, version);

test('the Node that runners install is what npm has of that version, for either architecture', async () => {
  const text = readFileSync(join(root, 'functions/runner/install-node.sh'), 'utf8');
  for (const name of ['x64', 'arm64']) {
    const { stdout } = await must(['npm', 'view', '--silent', `node-linux-${name}@${version}`, 'dist.integrity']);
    const [algorithm, sum = ''] = stdout.trim().split('-');
    expect({ algorithm, sum: Buffer.from(sum, 'base64').toString('hex') }).toEqual({
      algorithm: 'sha512',
      sum: new RegExp(`^${name}=(.*)$`, 'm').exec(text)?.[1],
    });
  }
});

/** A build with RUN on a machine whose programs are those of a container of `image`, which is in `archive`. */
async function buildIn(
  folder: string,
  archive: string,
  image: string,
  program: string,
  platform: string,
  env: Readonly<Record<string, string>> = {},
) {
  const at = (name: string): string => join(folder, name);
  const store = [
    ...['--root', at('root'), '--runroot', at('run'), '--tmpdir', at('tmp')],
    ...['--cgroup-manager=cgroupfs', '--runtime=runc'],
  ];
  await must(['podman', ...store, 'load', '-q', '-i', archive]);
  const name = `slipway-runner-${process.pid}-${platform.replace('/', '-')}`;
  const start = (machine: Machine, env: Readonly<Record<string, string>>, script?: string): ChildProcess => {
    // A machine's own variables, but for PATH, which is the image's.
    const variables = Object.entries(env).filter(([key]) => key !== 'PATH');
    const words = [
      ...['run', '--rm', '--name', name, '--privileged', '--security-opt=no-new-privileges'],
      // Podman's own limits are more than some machines let it set. The volume is what CodeBuild has for docker.
      ...['--ulimit=nofile=1024:8192', '--ulimit=nproc=2048:2048', '--volume=/var/lib/docker'],
      ...[`--network=ns:${machine.namespace('net')}`, '--dns=127.0.0.2', '--dns-search=machine.test', '--no-hosts'],
      ...variables.map(([key, value]) => `--env=${key}=${value}`),
      ...[image, ...(script === undefined ? [] : ['sh', '-c', script])],
    ];
    return spawn('podman', [...store, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  };
  try {
    await using account = await accountHome();
    await using host = await jobHost(account);
    await using services: FakeServices = await fakeServices(program, { start, env });
    await loadArchive(account.fresh(), createReadStream((await busyboxImage()).archive));
    const command = `nslookup packages.test && grep . /etc/resolv.conf && printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc ${internetAddress} 80 >/made && tail -n 1 /made`;
    const text = `FROM ${busyboxReference}\nRUN ${command}\n`;
    const build = await drive(account, await startBuild(account, requestOf(text)), async (id, stage) => {
      const launcher = host.launcher(services.machines);
      await launcher.start(id, stage, platform, 'waiter');
      await host.wait('waiter', 60_000);
      await launcher.stop(id, stage);
    });
    expect(build.failure).toBeUndefined();
    const events = await eventsOf(account, build.id);
    const said = events.flatMap((e) => (e.type === 'log' ? [e.text] : [])).join('');
    // Of another zlib, above all: the Node is ours.
    expect(events.filter((e) => e.type === 'warning')).toEqual([]);
    expect(said).toContain('nameserver 192.0.2.1');
    expect(said).toContain('the internet');
    expect(services.all().map((runner) => runner.machine.hits)).toEqual([[]]);
    expect(await services.allEnded()).toEqual([0]);
    return services.all().map((runner) => runner.said());
  } finally {
    await attempt(['podman', ...store, 'rm', '-f', '-i', name]);
    await attempt(['umount', '-l', at('root/overlay')]);
  }
}

test.skipIf(why)(
  'Slipway builds the image of MicroVMs, and a build with RUN goes through it',
  async () => {
    await using folder = await scratch('slw-runner-image-');
    const at = (name: string): string => join(folder.path, name);
    const home = at('home');
    await amazonLinux(at('base.tar'));
    const program = at('program');
    mkdirSync(program);
    bundleProgram('runner', program);

    expect(await cli(['load', '-i', at('base.tar')], { home })).toMatchObject({ code: 0 });
    await using packages = await npm(at('npm'));
    const given = [`BASE=${amazonLinuxReference}`, `SLIPWAY_NPM_REGISTRY=${packages.url}`].flatMap((arg) => ['--build-arg', arg]);
    const built = await cli(['build', '-q', '-t', 'localhost/slipway-runner:test', ...given, program], { home });
    expect({ code: built.code, err: built.err }).toEqual({ code: 0, err: '' });
    expect(packages.asked).toEqual([tarball]);
    // Lambda builds it without arguments.
    expect(readFileSync(join(program, 'Dockerfile'), 'utf8')).toMatch(
      /^ARG BASE=public\.ecr\.aws\/lambda\/microvms:al2023-minimal$/m,
    );

    const inspected = await cli(['inspect', 'localhost/slipway-runner:test'], { home });
    const [{ Config }] = JSON.parse(inspected.out) as [{ readonly Config: Readonly<Record<string, unknown>> }];
    expect(Config).toMatchObject({
      Entrypoint: ['/opt/slipway/slipway-node', '/opt/slipway/handler.js'],
      ExposedPorts: { '9000/tcp': {} },
      Volumes: { '/var/lib/slipway-runner': {} },
    });
    expect(await cli(['save', '-o', at('image.tar'), 'localhost/slipway-runner:test'], { home })).toMatchObject({ code: 0 });
    await buildIn(folder.path, at('image.tar'), 'localhost/slipway-runner:test', program, 'linux/arm64');
  },
  long,
);

test.skipIf(why)(
  'on a machine of CodeBuild that lacks nearly everything the buildspec installs it, and a build with RUN goes through',
  async () => {
    await using folder = await scratch('slw-runner-codebuild-');
    const at = (name: string): string => join(folder.path, name);
    await amazonLinux(at('base.tar'), codebuildReference);
    mkdirSync(at('program'));
    bundleProgram('runner', at('program'));
    await using packages = await npm(at('npm'));
    const env = { SLIPWAY_NPM_REGISTRY: packages.url };
    const [said] = await buildIn(folder.path, at('base.tar'), codebuildReference, at('program'), 'linux/amd64', env);
    for (const name of ['iproute', 'iptables-legacy', 'util-linux', 'attr', 'tar', 'gzip'])
      expect(said).toContain(`Installed: ${name}`);
    expect(packages.asked).toEqual([tarball]);
    expect(said).toContain('"job":"done"');
  },
  long,
);
