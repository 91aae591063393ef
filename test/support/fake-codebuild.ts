// CodeBuild, as far as a runner sees it: a privileged machine with a role's credentials behind an address, on which the buildspec of the
// stack is executed, command by command in one shell, with the variables that StartBuild was given. StopBuild ends the shell.
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, dirname } from 'node:path';
import { runnerBuildspec } from '../../infra/runner-buildspec.ts';
import { errnoOf } from '../../shared/errors.ts';
import { type FakeRunner, type FakeRunnerOptions, machineEnvironment, runnerOn } from './fake-microvm.ts';
import { homePorts, startMachine } from './machine.ts';

/** A presigned URL of the program's zip: what it is asked for without a signature, it refuses. */
export async function programUrl(
  folder: string,
): Promise<AsyncDisposable & { readonly url: string; readonly requests: string[] }> {
  const { stdout, status, stderr } = spawnSync('zip', ['-q', '-r', '-', '.'], { cwd: folder, maxBuffer: 256 << 20 });
  if (status !== 0) throw new Error(`zip: ${stderr.toString()}`);
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.headers.authorization ?? 'without authorization'}`);
    if (!request.url?.includes('X-Amz-Signature=')) return void response.writeHead(403).end();
    response.end(stdout);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  homePorts.add(port);
  return {
    url: `http://127.0.0.1:${port}/assets/program.zip?X-Amz-Security-Token=token&X-Amz-Signature=signature`,
    requests,
    async [Symbol.asyncDispose]() {
      homePorts.delete(port);
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** What CodeBuild puts into the environment of a build, credentials of the role included. */
const codebuildEnvironment = {
  CODEBUILD_BUILD_ID: 'slipway:1',
  CODEBUILD_SRC_DIR: '/tmp',
  AWS_REGION: 'us-east-1',
  AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/v2/credentials/canary',
};

/** StartBuild with overrides of environment variables. `ended` is the exit code of the build's commands. */
export async function runFakeCodebuild(
  variables: Readonly<Record<string, string>>,
  options: FakeRunnerOptions = {},
): Promise<FakeRunner> {
  const machine = await startMachine(options);
  // The image has Node of this project, as an image of AWS has one that is new enough, or else its packages.
  const path = [dirname(process.execPath), machineEnvironment.PATH, '/usr/sbin', '/sbin'].join(delimiter);
  const commands = runnerBuildspec.phases.build.commands.join('\n');
  const env = { ...machineEnvironment, ...codebuildEnvironment, ...variables, ...options.env, PATH: path };
  const child =
    options.start?.(machine, env, commands) ??
    machine.spawn('sh', ['-c', commands], { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env });
  const runner = runnerOn(machine, child);
  return {
    ...runner,
    // The whole build, not its shell alone.
    signal(name) {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, name);
      } catch (error) {
        // It has ended.
        if (errnoOf(error) !== 'ESRCH') throw error;
      }
    },
  };
}
