// The stack of production on a local AWS: `cdk bootstrap` and `cdk deploy` as on AWS, told where AWS is. deploy-local.ts, destroy-local.ts
// and the account's tests go through here.
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const bin = join(root, 'node_modules/.bin');
const stackName = 'slipway-local';
/** What emulators take for an account of theirs. */
const environment = 'aws://000000000000/us-east-1';
/** How much of what the CDK said is shown when it fails. */
const shownLines = 40;

export interface LocalStackOptions {
  /** Of the local AWS. */
  readonly endpoint: string;
  /** Where clients will reach the registry: a proxy that passes everything on to `stageUrl`. */
  readonly url: string;
  /** For files that the CDK makes. */
  readonly folder: string;
  /** As `-c name=value` for app.ts. */
  readonly settings?: Readonly<Record<string, string>>;
  /** More of the environment for the CDK and the app. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface LocalStack {
  /** By the names that slipway.ts gives them. */
  readonly outputs: Readonly<Record<string, string>>;
  /** Where the emulator serves the stage. */
  readonly stageUrl: string;
}

/** Deploys, or brings what is deployed up to date. */
export async function deployLocalStack(options: LocalStackOptions): Promise<LocalStack> {
  const file = join(options.folder, 'outputs.json');
  // Away from cdk.json: with the environment named, this has no need of the app.
  await cdk(options, ['bootstrap', environment], options.folder);
  await cdk(options, ['deploy', '--require-approval', 'never', '--outputs-file', file, ...appArguments(options)], root);
  const written = JSON.parse(await readFile(file, 'utf8')) as Record<string, Record<string, string>>;
  const outputs = written[stackName] ?? {};
  return { outputs, stageUrl: stageOn(options.endpoint, outputs.StageUrl ?? '') };
}

export async function destroyLocalStack(options: LocalStackOptions): Promise<void> {
  await cdk(options, ['destroy', '--force', ...appArguments(options)], root);
}

/** What an administrator does by `aws lambda invoke`. Emulators check no signature but read the service out of it. */
export async function invokeLocally(endpoint: string, name: string, event: object): Promise<Record<string, unknown>> {
  const answer = await fetch(`${endpoint}/2015-03-31/functions/${name}/invocations`, {
    method: 'POST',
    headers: {
      authorization: 'AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0',
    },
    body: JSON.stringify(event),
  });
  // A function that failed is answered with 200 and this header.
  if (!answer.ok || answer.headers.has('x-amz-function-error'))
    throw new Error(`${name} could not be invoked: HTTP ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Record<string, unknown>;
}

function appArguments({ url, folder, settings = {} }: LocalStackOptions): readonly string[] {
  const context = Object.entries({ stage: 'local', localUrl: url, ...settings });
  return ['--output', join(folder, 'cdk.out'), ...context.flatMap(([name, value]) => ['-c', `${name}=${value}`])];
}

/** The path by which MiniStack and LocalStack serve a stage, out of the URL that AWS would serve it at. */
function stageOn(endpoint: string, stageUrl: string): string {
  const match = /\/\/([^.]+)\.execute-api\.[^/]+\/([^/]+)/.exec(stageUrl);
  if (match === null) throw new Error(`the stack's output StageUrl names no stage: ${JSON.stringify(stageUrl)}`);
  return `${endpoint}/_aws/execute-api/${match[1]}/${match[2]}`;
}

function cdk({ endpoint, env: more }: LocalStackOptions, args: readonly string[], cwd: string): Promise<void> {
  const env = {
    ...process.env,
    ...more,
    // `node` for the app is the project's own.
    PATH: `${bin}:${process.env.PATH}`,
    AWS_ENDPOINT_URL: endpoint,
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_REGION: 'us-east-1',
    AWS_DEFAULT_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    // Whatever account this shell is logged in to: it is not to be touched.
    AWS_PROFILE: undefined,
    AWS_SESSION_TOKEN: undefined,
    CDK_DISABLE_CLI_TELEMETRY: '1',
  };
  return new Promise((resolve, reject) => {
    const child = spawn(join(bin, 'cdk'), [...args, '--ci'], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const said: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => said.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => said.push(chunk));
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) return resolve();
      const lines = Buffer.concat(said).toString('utf8').trim().split('\n').slice(-shownLines).join('\n');
      reject(new Error(`cdk ${args[0]} ended with ${signal ?? code}:\n${lines}`));
    });
  });
}
