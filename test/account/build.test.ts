// Builds as a team has them: the stack of production on a local AWS, the command line with SLIPWAY_ENDPOINT, machines for RUN, and beside
// it the embedded home, which must come to the same images.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, open, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ListExecutionsCommand, ListStateMachinesCommand, SFNClient, StopExecutionCommand } from '@aws-sdk/client-sfn';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deployAccount, type TestAccount } from '../support/account.ts';
import { clientOptions, whyNoAws } from '../support/aws.ts';
import { type BaseImage, busyboxImage, debianImage } from '../support/base-images.ts';
import { type CommandResult, installed, must } from '../support/command.ts';
import type { StartedRunner } from '../support/fake-runner-plane.ts';
import { whyNoRoot } from '../support/roots.ts';
import { type Scratch, scratch } from '../support/scratch.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const skopeo = (await installed('skopeo')) || process.env.CI ? undefined : 'skopeo is not installed';
// Requests to an AWS that is not ours cannot be counted.
const foreign = process.env.AWS_ENDPOINT_URL ? 'needs a MiniStack of its own' : undefined;
const missing = whyNoAws() ?? foreign ?? whyNoRoot('busybox') ?? whyNoRoot('debian') ?? skopeo;

const main = join(import.meta.dirname, '../../cli/main.ts');
/** SOURCE_DATE_EPOCH, as the embedded home and the account are given it. */
const epoch = ['--build-arg', 'SOURCE_DATE_EPOCH=1700000000', '--platform', 'linux/amd64', '--progress', 'plain'];

let account: TestAccount;
let upstream: Upstream;
let folder: Scratch;
let admin: string;

/** Where a command builds: here, or in the account. */
const home = (): Readonly<Record<string, string>> => ({ SLIPWAY_HOME: join(folder.path, 'home'), SLIPWAY_ENDPOINT: '' });
const remote = (): Readonly<Record<string, string>> => ({ SLIPWAY_HOME: '', SLIPWAY_ENDPOINT: account.proxy.url });
const environment = (where: Readonly<Record<string, string>>) => ({
  HOME: join(folder.path, 'user'),
  XDG_CACHE_HOME: undefined,
  SOURCE_DATE_EPOCH: undefined,
  SLIPWAY_TOKEN: undefined,
  ...where,
});

interface Ended extends CommandResult {
  /** Of the image, if one came out. */
  readonly digest: string | undefined;
}

async function slipway(where: Readonly<Record<string, string>>, ...args: string[]): Promise<Ended> {
  const running = start(where, ...args);
  return running.ended;
}

/** A command whose words can be read while it runs. */
function start(where: Readonly<Record<string, string>>, ...args: string[]) {
  const env: NodeJS.ProcessEnv = { ...process.env };
  for (const [name, value] of Object.entries(environment(where))) {
    if (value === undefined || value === '') delete env[name];
    else env[name] = value;
  }
  const began = performance.now();
  const child = spawn(process.execPath, [main, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { stdout: '', stderr: '' };
  const waiting = new Set<() => void>();
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].on('data', (chunk: Buffer) => {
      said[stream] += chunk.toString();
      for (const look of waiting) look();
    });
  }
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code, signal) => {
      const exitCode = code ?? (signal === 'SIGINT' ? 130 : 128);
      const [, digest] = /writing image (sha256:[0-9a-f]{64})/.exec(said.stderr) ?? [];
      resolve({ exitCode, ...said, milliseconds: performance.now() - began, digest });
      for (const look of waiting) look();
    });
  });
  /** Resolves when the command has said this; rejects when it ends before. */
  const says = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      let over = false;
      const look = (): void => {
        if (said.stderr.includes(text)) {
          waiting.delete(look);
          resolve();
        } else if (over) reject(new Error(`it never said ${text}: ${said.stderr}`));
      };
      waiting.add(look);
      void ended.then(() => {
        over = true;
        look();
      });
      look();
    });
  return { ended, says, signal: (name: NodeJS.Signals) => child.kill(name) };
}

async function context(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const at = join(folder.path, 'contexts', name);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(at, path)), { recursive: true });
    await writeFile(join(at, path), text);
  }
  return at;
}

/** Gives another registry an image, by skopeo. */
async function publish({ archive }: BaseImage, name: string): Promise<void> {
  const to = `docker://${upstream.host}/${name}`;
  await must(['skopeo', '--insecure-policy', 'copy', '-q', '--dest-tls-verify=false', `oci-archive:${archive}`, to]);
}

/** By skopeo out of the deployed registry. */
async function pulled(
  name: string,
): Promise<{ readonly digest: string; readonly layers: readonly string[]; readonly at: string }> {
  const at = join(folder.path, 'pulled', name.replace(/\W/g, '-'));
  await mkdir(dirname(at), { recursive: true });
  const from = `docker://${account.proxy.host}/${name}`;
  await must(['skopeo', '--insecure-policy', 'copy', '-q', '--src-tls-verify=false', `--src-creds=${admin}`, from, `dir:${at}`]);
  const manifest = await readFile(join(at, 'manifest.json'));
  const { layers } = JSON.parse(manifest.toString()) as { layers: { digest: string }[] };
  const digest = `sha256:${createHash('sha256').update(manifest).digest('hex')}`;
  return { digest, layers: layers.map((layer) => layer.digest), at };
}

const runners = (): readonly StartedRunner[] => account.runners?.started ?? [];
/** Machines that were started since, all of them gone. */
async function endedSince(before: number): Promise<readonly StartedRunner[]> {
  const since = runners().slice(before);
  for (const { runner } of since) await (await runner).ended;
  return since;
}
const steps = ({ stderr }: CommandResult, how: string): readonly string[] =>
  stderr.split('\n').flatMap((line) => (new RegExp(`^#(\\d+) ${how}`).exec(line)?.[1] ? [line] : []));

beforeAll(async () => {
  if (missing !== undefined) return;
  folder = await scratch('slw-acb-');
  await mkdir(join(folder.path, 'user'), { recursive: true });
  upstream = await startUpstream();
  await publish(await busyboxImage(), 'busybox:base');
  await publish(await debianImage(), 'debian:base');
  account = await deployAccount({ runners: true });
  const password = String((await account.accounts({ do: 'create', name: 'admin' })).password);
  admin = `admin:${password}`;
  const auths = { [account.proxy.host]: { auth: Buffer.from(admin).toString('base64') } };
  await mkdir(join(folder.path, 'user/.docker'));
  await writeFile(join(folder.path, 'user/.docker/config.json'), JSON.stringify({ auths }));
}, 600_000);

afterAll(async () => {
  await account?.[Symbol.asyncDispose]();
  await upstream?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

// One story: each goes on with what those before have built.
describe.skipIf(missing)(`builds in an account${missing === undefined ? '' : ` (${missing})`}`, { shuffle: false }, () => {
  const stages = (): string => `FROM ${upstream.host}/busybox:base AS tools
RUN mkdir /made && echo tool > /made/tool && chmod 4755 /made/tool
FROM ${upstream.host}/busybox:base AS other
WORKDIR /w
COPY --chown=7:8 src/ ./
RUN cat a.txt b/c.txt > all && rm a.txt && ln -s all link
FROM ${upstream.host}/busybox:base
ARG SOURCE_DATE_EPOCH
COPY --from=tools /made /made
COPY --from=other /w /w
ENV GREETING=hello
RUN echo "$GREETING from $(cat /made/tool)" && cp /w/all /copy
CMD ["cat", "/copy"]
`;
  const files = { 'src/a.txt': 'a\n', 'src/b/c.txt': 'c\n', 'unused.txt': 'never sent twice\n' };
  let both: Ended;

  test('the same context and Dockerfile give the same manifest as the embedded home, and skopeo pulls it', async () => {
    const at = await context('stages', { Dockerfile: stages(), ...files });
    both = await slipway(remote(), 'build', ...epoch, '-t', 'team/app:v1', at);
    expect(both, both.stderr).toMatchObject({ exitCode: 0 });
    expect(both.stderr).toContain('hello from tool');
    const here = await slipway(home(), 'build', ...epoch, '-t', 'team/app:v1', at);
    expect(here, here.stderr).toMatchObject({ exitCode: 0 });
    expect(both.digest).toMatch(/^sha256:/);
    expect(both.digest).toBe(here.digest);
    const image = await pulled('team/app:v1');
    expect(image.digest).toBe(both.digest);
    // One machine for each stage: what a runner can do in one go, it does.
    const used = await endedSince(0);
    expect(used.map(({ kind }) => kind)).toEqual(['codebuild', 'codebuild', 'codebuild']);
    expect(both.stderr).toMatch(
      /^cost {2}\$0\.\d+ estimated \(prices of [\d-]+, us-east-1\) {2}lambda [\d.]+ GB-s, codebuild 3 min, s3 \d+ requests [\d.]+[kM]B, dynamodb \d+$/m,
    );
  });

  test('a build that costs more than it was given is stopped, its machine too, and says so', async () => {
    const dockerfile = `FROM ${upstream.host}/busybox:base\nRUN echo kept > /kept\nRUN sleep 3600\n`;
    const at = await context('dear', { Dockerfile: dockerfile });
    const before = runners().length;
    // A minute of CodeBuild is a cent.
    const ended = await slipway(remote(), 'build', ...epoch, '-t', 'team/dear:v1', '--budget', '0.005', at);
    expect(ended.exitCode, ended.stderr).toBe(1);
    expect(ended.stderr).toMatch(/has cost \$0\.01\d* by estimate, and may cost \$0\.0050/);
    expect(ended.stderr).toMatch(/^cost {2}\$0\.01/m);
    expect(await endedSince(before)).toHaveLength(1);
  });

  test('a second build of the same sends no file, runs no step and stores nothing', async () => {
    const before = { runners: runners().length, requests: account.bucket.requests.length };
    const again = await slipway(remote(), 'build', ...epoch, '-t', 'team/app:v1', join(folder.path, 'contexts/stages'));
    expect(again, again.stderr).toMatchObject({ exitCode: 0, digest: both.digest });
    expect(again.stderr).toContain('nothing new to send');
    expect(runners()).toHaveLength(before.runners);
    // Every step of the first build, and each from the cache.
    const titles = steps(both, '\\[[^\\]]*\\d/\\d\\] ').length;
    expect(titles).toBeGreaterThan(8);
    expect(steps(again, 'CACHED')).toHaveLength(titles);
    // What the request says is kept again under the digest it has already, and nothing else.
    const stored = (requests: readonly string[]) =>
      requests.flatMap((one) => /^(?:PUT|POST) .*\/blobs\/sha256\/([0-9a-f]+)\//.exec(one)?.[1] ?? []);
    const known = stored(account.bucket.requests.slice(0, before.requests));
    const now = stored(account.bucket.requests.slice(before.requests));
    expect(now.length).toBeLessThan(2);
    expect(now.filter((digest) => !known.includes(digest))).toEqual([]);
  });

  test('a failing RUN ends the build with its step, its line and its log, and what was done before is kept', async () => {
    const dockerfile = `FROM ${upstream.host}/busybox:base
COPY src/ /src/
RUN echo kept > /kept
RUN echo before the end; sh -c 'echo to stderr >&2; exit 37'
RUN echo never
`;
    const at = await context('failing', { Dockerfile: dockerfile, ...files });
    const before = runners().length;
    const failed = await slipway(remote(), 'build', ...epoch, '-t', 'team/failed:v1', at);
    // docker build's own exit code.
    expect(failed.exitCode).toBe(1);
    const message = `process "/bin/sh -c echo before the end; sh -c 'echo to stderr >&2; exit 37'" did not complete successfully: exit code: 37`;
    expect(failed.stderr).toMatch(/^#\d+ \[4\/5\] RUN echo before the end/m);
    for (const line of ['before the end', 'to stderr', message, '>>> RUN echo before the end'])
      expect(failed.stderr).toContain(line);
    expect(failed.stderr).toMatch(/Dockerfile:4$/m);
    expect(failed.stderr).not.toContain('echo never\n#');
    await endedSince(before);
    const [, ...tags] = (await slipway(remote(), 'images', '--format', '{{.Repository}}:{{.Tag}}')).stdout.split('\n');
    expect(tags).not.toContain('team/failed:v1');
    // Mended, it goes on where it was.
    const mended = await context('failing', { Dockerfile: dockerfile.replace('exit 37', 'exit 0') });
    const done = await slipway(remote(), 'build', ...epoch, '-t', 'team/failed:v1', mended);
    expect(done, done.stderr).toMatchObject({ exitCode: 0 });
    const [kept] = /^#(\d+) \[3\/5\] RUN echo kept/m.exec(done.stderr)?.slice(1) ?? [];
    expect(done.stderr).toContain(`#${kept} CACHED`);
  });

  test('the log is followed while a RUN works, and Ctrl-C ends it everywhere', async () => {
    const dockerfile = `FROM ${upstream.host}/busybox:base
RUN echo it has begun; sleep 3600
`;
    const at = await context('endless', { Dockerfile: dockerfile });
    const before = runners().length;
    const running = start(remote(), 'build', ...epoch, '-t', 'team/endless:v1', at);
    // An hour before it would end.
    await running.says('it has begun\n');
    expect(runners()[before]?.over).toBe(false);
    running.signal('SIGINT');
    const ended = await running.ended;
    expect(ended.exitCode).toBe(130);
    expect(ended.stderr).toMatch(/cancelled/i);
    const used = await endedSince(before);
    expect(used).toHaveLength(1);
  });

  test('an execution that is stopped by hand ends its build and its machines', async () => {
    const at = await context('stopped', { Dockerfile: `FROM ${upstream.host}/busybox:base\nRUN echo started; sleep 3600\n` });
    const before = runners().length;
    const running = start(remote(), 'build', ...epoch, '-t', 'team/stopped:v1', at);
    await running.says('started\n');
    const states = new SFNClient(clientOptions(account.aws));
    const { stateMachines = [] } = await states.send(new ListStateMachinesCommand({}));
    const machine = { stateMachineArn: stateMachines[0]?.stateMachineArn, statusFilter: 'RUNNING' } as const;
    const executing = async () =>
      ((await states.send(new ListExecutionsCommand(machine))).executions ?? []).map(({ executionArn }) => executionArn);
    // One that was cancelled before may still be on its way to its end.
    await expect.poll(executing, { timeout: 60_000 }).toHaveLength(1);
    const [executionArn] = await executing();
    await states.send(new StopExecutionCommand({ executionArn, cause: 'not today' }));
    const ended = await running.ended;
    expect(ended.exitCode).toBe(1);
    expect(ended.stderr).toMatch(/execution .*(not today|ABORTED)/);
    // Told by EventBridge, whoever watches the build or does not.
    const used = await endedSince(before);
    expect(used.map(({ stopped }) => stopped)).toEqual([true]);
  });

  test('a MicroVM executes RUN as CodeBuild does', async () => {
    const at = await context('stages', { Dockerfile: stages(), ...files });
    const settle = await account.configure('Launch', {
      SLIPWAY_RUNNER_AMD64: 'microvm:arn:aws:lambda:us-east-1:000000000000:microvm-image:slipway-runner',
    });
    const before = runners().length;
    try {
      const built = await slipway(remote(), 'build', ...epoch, '--no-cache', '-t', 'team/microvm:v1', at);
      expect(built, built.stderr).toMatchObject({ exitCode: 0, digest: both.digest });
    } finally {
      await settle();
    }
    const used = await endedSince(before);
    expect(used.map(({ kind }) => kind)).toEqual(['microvm', 'microvm', 'microvm']);
    // A MicroVM bills until somebody ends it.
    expect(used.map(({ stopped }) => stopped)).toEqual([true, true, true]);
  });

  test('COPY on a Debian base reads none of the base’s layers, in the account and embedded', async () => {
    const dockerfile = `FROM ${upstream.host}/debian:base
COPY src/ /usr/share/app/
COPY --chown=nobody src/a.txt /var/log/
WORKDIR /usr/share/app
`;
    const at = await context('debian', { Dockerfile: dockerfile, ...files });
    const from = account.bucket.requests.length;
    const built = await slipway(remote(), 'build', ...epoch, '-t', 'team/debian:v1', at);
    expect(built, built.stderr).toMatchObject({ exitCode: 0 });
    const seen = account.bucket.requests.slice(from);
    const base = (await pulled('team/debian:v1')).layers[0] as string;
    const hex = base.slice('sha256:'.length);
    const gets = (requests: readonly string[]): readonly string[] =>
      requests.filter((one) => one.startsWith('GET ') && one.includes(hex));
    // It came in by this build, and went out by skopeo: that is counted, too.
    expect(seen.filter((one) => /^(PUT|POST) /.test(one) && one.includes(hex)).length).toBeGreaterThan(0);
    expect(gets(seen)).toEqual([]);
    expect(gets(account.bucket.requests.slice(from)).length).toBeGreaterThan(0);

    // Embedded, the layer's bytes are destroyed once they are there: who does not read them does not notice.
    const other = { ...home(), SLIPWAY_HOME: join(folder.path, 'home-without') };
    const only = await context('debian-alone', { Dockerfile: `FROM ${upstream.host}/debian:base\nLABEL a=b\n` });
    expect((await slipway(other, 'build', ...epoch, '-t', 'team/debian:v0', only)).exitCode).toBe(0);
    const blob = join(other.SLIPWAY_HOME, 'blobs/sha256', hex);
    const { size } = await stat(blob);
    const file = await open(blob, 'r+');
    await file.truncate(0);
    await file.truncate(size);
    await file.close();
    const here = await slipway(other, 'build', ...epoch, '-t', 'team/debian:v1', at);
    expect(here, here.stderr).toMatchObject({ exitCode: 0, digest: built.digest });
    const reading = await context('debian-run', { Dockerfile: `${dockerfile}RUN true\n`, ...files });
    expect((await slipway(other, 'build', ...epoch, '-t', 'team/debian:v2', reading)).exitCode).toBe(1);
  });
});
