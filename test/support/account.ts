// An account for tests: a MiniStack of its own, the stack of production deployed to it by `cdk deploy`, the proxy in front.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { clientOptions, startAws } from './aws.ts';
import { must } from './command.ts';
import { type GatewayProxy, startGatewayProxy } from './gateway-proxy.ts';
import { tempFolder } from './temp.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface TestAccount extends AsyncDisposable {
  /** Of the emulated AWS. */
  readonly aws: string;
  readonly proxy: GatewayProxy;
  /** Of the stack, by name. */
  readonly outputs: Readonly<Record<string, string>>;
  /** What an administrator does by `aws lambda invoke`. */
  accounts(request: object): Promise<Record<string, unknown>>;
}

/** `settings`: as `-c name=value` for infra/app.ts. */
export async function deployAccount(settings: Readonly<Record<string, string>> = {}): Promise<TestAccount> {
  const parts = new AsyncDisposableStack();
  try {
    const aws = parts.use(await startAws({}, { port: 'any' }));
    const proxy = parts.use(await startGatewayProxy());
    const folder = parts.use(await tempFolder('slipway-deploy-'));
    const cdk = deployer(aws.endpoint, folder.path);
    const context = { stage: 'local', localUrl: proxy.url, ...settings };
    const said = Object.entries(context).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    // Away from cdk.json: with the environment named it has no need of the app.
    await cdk(['bootstrap', 'aws://000000000000/us-east-1'], folder.path);
    const file = join(folder.path, 'outputs.json');
    await cdk(['deploy', '--require-approval', 'never', '--outputs-file', file, ...said]);
    const { default: written } = (await import(file, { with: { type: 'json' } })) as {
      default: Record<string, Record<string, string>>;
    };
    const outputs = written['slipway-local'] ?? {};
    proxy.aim(stageOn(aws.endpoint, outputs));
    const owned = parts.move();
    return {
      aws: aws.endpoint,
      proxy,
      outputs,
      accounts: (request) => invoke(aws.endpoint, outputs.AccountsFunction ?? '', request),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  } finally {
    await parts.disposeAsync();
  }
}

function deployer(endpoint: string, folder: string): (args: readonly string[], cwd?: string) => Promise<unknown> {
  const { region, credentials } = clientOptions(endpoint);
  const bin = join(root, 'node_modules/.bin');
  return (args, cwd = root) =>
    must([join(bin, 'cdk'), ...args, '--ci', ...(args[0] === 'deploy' ? ['--output', join(folder, 'cdk.out')] : [])], {
      cwd,
      env: {
        PATH: `${bin}:${process.env.PATH}`,
        AWS_ENDPOINT_URL: endpoint,
        AWS_ENDPOINT_URL_S3: endpoint,
        AWS_REGION: region,
        AWS_ACCESS_KEY_ID: credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
        CDK_DISABLE_CLI_TELEMETRY: '1',
      },
    });
}

/** The path by which an emulator serves a stage, out of the URL that AWS would serve it at. */
function stageOn(endpoint: string, outputs: Readonly<Record<string, string>>): string {
  const match = /\/\/([^.]+)\.execute-api\.[^/]+\/([^/]+)/.exec(outputs.StageUrl ?? '');
  if (match === null) throw new Error(`no stage in the outputs: ${JSON.stringify(outputs)}`);
  return `${endpoint}/_aws/execute-api/${match[1]}/${match[2]}`;
}

async function invoke(endpoint: string, name: string, request: object): Promise<Record<string, unknown>> {
  const answer = await fetch(`${endpoint}/2015-03-31/functions/${name}/invocations`, {
    method: 'POST',
    body: JSON.stringify(request),
  });
  return (await answer.json()) as Record<string, unknown>;
}
