// The image of a runner, built by Slipway from the Dockerfile that Lambda is given, and started as Lambda starts it: as a privileged
// container on a machine, whose hooks are called.
import { type ChildProcess, spawn } from 'node:child_process';
import { createReadStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bundleProgram } from '../../infra/program-bundle.ts';
import { loadArchive } from '../../shared/archive/load.ts';
import { accountHome, drive, eventsOf, requestOf, startBuild } from '../support/account-home.ts';
import { amazonLinux, amazonLinuxReference, whyNoAmazonLinux } from '../support/amazon-linux.ts';
import { busyboxImage, busyboxReference } from '../support/base-images.ts';
import { cli } from '../support/cli.ts';
import { attempt, must } from '../support/command.ts';
import { fakeServices } from '../support/fake-runner-services.ts';
import { jobHost } from '../support/job-host.ts';
import type { Machine } from '../support/machine.ts';
import { internetAddress } from '../support/machine-process.ts';
import { whyNoRoot } from '../support/roots.ts';
import { scratch } from '../support/scratch.ts';

const why = whyNoRoot('busybox') ?? whyNoAmazonLinux();

test.skipIf(why)(
  'Slipway builds the runner’s image, and a build with RUN goes through it',
  async () => {
    await using folder = await scratch('slw-runner-image-');
    const at = (name: string): string => join(folder.path, name);
    const home = at('home');
    await amazonLinux(at('base.tar'));
    const program = at('program');
    await must(['mkdir', program]);
    bundleProgram('runner', program);

    expect(await cli(['load', '-i', at('base.tar')], { home })).toMatchObject({ code: 0 });
    const args = ['build', '-q', '-t', 'localhost/slipway-runner:test', '--build-arg', `BASE=${amazonLinuxReference}`, program];
    const built = await cli(args, { home });
    expect({ code: built.code, err: built.err }).toEqual({ code: 0, err: '' });
    // Lambda builds it without arguments.
    expect(readFileSync(join(program, 'Dockerfile'), 'utf8')).toMatch(
      /^ARG BASE=public\.ecr\.aws\/lambda\/microvms:al2023-minimal$/m,
    );

    const inspected = await cli(['inspect', 'localhost/slipway-runner:test'], { home });
    const [{ Config }] = JSON.parse(inspected.out) as [{ readonly Config: Readonly<Record<string, unknown>> }];
    expect(Config).toMatchObject({
      Entrypoint: ['node-24', '/opt/slipway/handler.js'],
      ExposedPorts: { '9000/tcp': {} },
      Volumes: { '/var/lib/slipway-runner': {} },
    });
    expect(await cli(['save', '-o', at('image.tar'), 'localhost/slipway-runner:test'], { home })).toMatchObject({ code: 0 });

    const store = [
      '--root',
      at('root'),
      '--runroot',
      at('run'),
      '--tmpdir',
      at('tmp'),
      '--cgroup-manager=cgroupfs',
      '--runtime=runc',
    ];
    const podman = ['podman', ...store];
    await must([...podman, 'load', '-q', '-i', at('image.tar')]);
    const name = `slipway-runner-${process.pid}`;
    const start = (machine: Machine, env: Readonly<Record<string, string>>): ChildProcess => {
      // A machine's own variables, but for PATH, which is the image's.
      const variables = Object.entries(env).filter(([key]) => key !== 'PATH');
      const words = [
        ...[
          'run',
          '--rm',
          '--name',
          name,
          '--privileged',
          '--ulimit=nofile=1024:8192',
          '--ulimit=nproc=2048:2048',
          '--security-opt=no-new-privileges',
        ],
        ...[`--network=ns:${machine.namespace('net')}`, '--dns=127.0.0.2', '--dns-search=machine.test', '--no-hosts'],
        ...variables.map(([key, value]) => `--env=${key}=${value}`),
      ];
      return spawn('podman', [...store, ...words, 'localhost/slipway-runner:test'], { stdio: ['ignore', 'pipe', 'pipe'] });
    };
    try {
      await using account = await accountHome();
      await using host = await jobHost(account);
      await using services = await fakeServices(program, { start });
      await loadArchive(account.fresh(), createReadStream((await busyboxImage()).archive));
      const dockerfile = `FROM ${busyboxReference}\nRUN nslookup packages.test && grep . /etc/resolv.conf && printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc ${internetAddress} 80 >/made && tail -n 1 /made\n`;
      const build = await drive(account, await startBuild(account, requestOf(dockerfile)), async (id, stage) => {
        const launcher = host.launcher(services.machines);
        await launcher.start(id, stage, 'linux/arm64', 'waiter');
        await host.wait('waiter');
        await launcher.stop(id, stage);
      });
      expect(build.failure).toBeUndefined();
      const said = (await eventsOf(account, build.id)).flatMap((e) => (e.type === 'log' ? [e.text] : [])).join('');
      expect(said).toContain('nameserver 192.0.2.1');
      expect(said).toContain('the internet');
      expect(services.all().map((runner) => runner.machine.hits)).toEqual([[]]);
      expect(await services.allEnded()).toEqual([0]);
    } finally {
      await attempt([...podman, 'rm', '-f', '-i', name]);
      await attempt(['umount', '-l', at('root/overlay')]);
    }
  },
  600_000,
);
