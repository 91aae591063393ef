// An account for tests: a MiniStack of its own, the stack of production deployed to it by `cdk deploy`, the proxy in front.
import { deployLocalStack, invokeLocally } from '../../infra/local-stack.ts';
import { startAws } from './aws.ts';
import { type GatewayProxy, startGatewayProxy } from './gateway-proxy.ts';
import { tempFolder } from './temp.ts';

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
  await using parts = new AsyncDisposableStack();
  const aws = parts.use(await startAws({}, { port: 'any' }));
  const proxy = parts.use(await startGatewayProxy());
  const folder = parts.use(await tempFolder('slipway-deploy-'));
  const { endpoint } = aws;
  const { outputs, stageUrl } = await deployLocalStack({ endpoint, url: proxy.url, folder: folder.path, settings });
  proxy.aim(stageUrl);
  const owned = parts.move();
  return {
    aws: endpoint,
    proxy,
    outputs,
    accounts: (request) => invokeLocally(endpoint, outputs.AccountsFunction ?? '', request),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
