// npm run deploy:local: the stack of production on this machine. A MiniStack on port 4566, or whatever AWS_ENDPOINT_URL names, in front of
// it the proxy that stands for CloudFront, and machines that execute RUN. Run it again to bring the stack up to date.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isRunning, type LocalProcess, localFolder, readState, startInBackground, stop, writeState } from './local-processes.ts';
import { deployLocalStack, invokeLocally } from './local-stack.ts';

const root = join(import.meta.dirname, '..');
const ministack = join(root, '.venv/bin/ministack');
const proxyPort = Number(process.env.SLIPWAY_LOCAL_PORT ?? 5080);
const runnersPort = proxyPort + 1;
const awsPort = 4566;
const patience = 30_000;

const say = (text: string): boolean => process.stdout.write(`${text}\n`);

async function answers(url: string): Promise<boolean> {
  try {
    await (await fetch(url)).body?.cancel();
    return true;
  } catch {
    // Nobody listens there yet.
    return false;
  }
}

async function started(running: LocalProcess & { readonly log: string }, url: string): Promise<LocalProcess> {
  for (const deadline = Date.now() + patience; !(await answers(url)); ) {
    if (!isRunning(running)) throw new Error(`it ended at once: see ${running.log}`);
    if (Date.now() > deadline) throw new Error(`it does not answer on ${url}: see ${running.log}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { pid: running.pid, mark: running.mark };
}

async function openAws(kept: LocalProcess | undefined): Promise<{ readonly endpoint: string; readonly process?: LocalProcess }> {
  const given = process.env.AWS_ENDPOINT_URL;
  if (given) return { endpoint: given.replace(/\/$/, '') };
  const endpoint = `http://127.0.0.1:${awsPort}`;
  if (kept !== undefined && isRunning(kept)) return { endpoint, process: kept };
  if (await answers(endpoint)) {
    throw new Error(
      `something else listens on port ${awsPort}. If it is a local AWS, set AWS_ENDPOINT_URL=${endpoint} to use it.`,
    );
  }
  if (!existsSync(ministack)) {
    say('installing MiniStack into .venv (test/setup.sh)');
    spawnSync('sh', [join(root, 'test/setup.sh')], { stdio: ['ignore', 'inherit', 'inherit'] });
    if (!existsSync(ministack))
      throw new Error('no local AWS: MiniStack is not there, see above; or set AWS_ENDPOINT_URL to another');
  }
  say(`starting MiniStack on ${endpoint}`);
  // Where it unpacks functions: gone with the rest of the folder. They are no part of this package, whose files are ES modules.
  const TMPDIR = join(localFolder, 'tmp');
  mkdirSync(TMPDIR, { recursive: true });
  writeFileSync(join(TMPDIR, 'package.json'), '{}\n');
  const env = { GATEWAY_PORT: String(awsPort), BIND_HOST: '127.0.0.1', LOG_LEVEL: 'WARNING', TMPDIR };
  return {
    endpoint,
    process: await started(startInBackground('ministack', ministack, [], env), `${endpoint}/_ministack/health`),
  };
}

/** Started anew each time: a stage that was deployed anew has another address, and the program of runners is another. */
async function restart(
  name: string,
  kept: LocalProcess | undefined,
  url: string,
  program: string,
  args: readonly string[],
): Promise<LocalProcess> {
  if (kept !== undefined) await stop(kept);
  if (await answers(url)) throw new Error(`something else listens on ${url}: choose other ports with SLIPWAY_LOCAL_PORT`);
  return started(startInBackground(name, process.execPath, [join(root, 'test/support', program), ...args], {}), url);
}

async function firstUser(endpoint: string, name: string): Promise<string | undefined> {
  const made = await invokeLocally(endpoint, name, { do: 'create', name: 'admin' });
  const error = made.error as { readonly code: string; readonly message: string } | undefined;
  if (error === undefined) return String(made.password);
  if (error.code !== 'CONFLICT') throw new Error(`no first user: ${error.message}`);
  return undefined;
}

async function main(): Promise<void> {
  const before = readState();
  const url = `http://127.0.0.1:${proxyPort}`;
  const runnersUrl = `http://127.0.0.1:${runnersPort}`;
  const aws = await openAws(before?.aws);
  const { endpoint } = aws;
  const state = { endpoint, url, ...(aws.process === undefined ? {} : { aws: aws.process }) };
  const kept = { ...before, ...state };
  writeState(kept);
  // What the machines' own loopback leads to.
  const reach = [proxyPort, new URL(endpoint).port || 80].map(String);
  const runners = await restart('runners', before?.runners, runnersUrl, 'fake-runner-plane-process.ts', [
    String(runnersPort),
    ...reach,
  ]);
  writeState({ ...kept, runners });
  say('deploying the stack: bootstrap, synth, deploy (half a minute)');
  const settings = { localRunners: runnersUrl };
  const { outputs, stageUrl } = await deployLocalStack({ endpoint, url, folder: localFolder, settings });
  const proxy = await restart('proxy', before?.proxy, url, 'gateway-proxy-process.ts', [stageUrl, String(proxyPort)]);
  writeState({ ...state, runners, proxy });
  const password = await firstUser(endpoint, outputs.AccountsFunction ?? '');
  const host = new URL(url).host;
  say(`\nendpoint  ${url}   (SLIPWAY_ENDPOINT=${url} slipway build ...)`);
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    say('RUN       not here: the machines that stand for MicroVMs and CodeBuild need Linux and root');
  }
  say(
    password === undefined
      ? 'user      admin: it was made, and its password said, by an earlier deployment'
      : `login     printf %s ${password} | docker login ${host} --username admin --password-stdin`,
  );
  say('remove    npm run destroy:local');
}

try {
  await main();
} catch (error) {
  process.stderr.write(`deploy:local: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
