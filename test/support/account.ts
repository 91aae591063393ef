// An account for tests: a MiniStack of its own, the stack of production deployed to it by `cdk deploy`, the proxy in front, and where it
// is asked for, machines for RUN and an eye on the bucket.
import { deployLocalStack, invokeLocally } from '../../infra/local-stack.ts';
import { startAws } from './aws.ts';
import { type CountingProxy, startCountingProxy } from './counting-proxy.ts';
import { type FakeRunnerPlane, startFakeRunnerPlane } from './fake-runner-plane.ts';
import { type GatewayProxy, startGatewayProxy } from './gateway-proxy.ts';
import { tempFolder } from './temp.ts';

export interface TestAccount extends AsyncDisposable {
  /** Of the emulated AWS. */
  readonly aws: string;
  readonly proxy: GatewayProxy;
  /** What functions, runners and presigned URLs ask of S3. */
  readonly bucket: CountingProxy;
  /** What executes RUN, if that was asked for. */
  readonly runners?: FakeRunnerPlane;
  /** Of the stack, by name. */
  readonly outputs: Readonly<Record<string, string>>;
  /** What an administrator does by `aws lambda invoke`. */
  accounts(request: object): Promise<Record<string, unknown>>;
  /** Gives a function of the construct's `Builds` other variables. Answers what puts the old ones back. */
  configure(program: string, variables: Readonly<Record<string, string>>): Promise<() => Promise<void>>;
}

export interface TestAccountOptions {
  /** As `-c name=value` for infra/app.ts. */
  readonly settings?: Readonly<Record<string, string>>;
  /** With machines for RUN, which need root. */
  readonly runners?: true;
  /** With functions that the CDK bundles, as it does for everybody, and not those of the run (programs-for-run.ts). */
  readonly bundled?: true;
}

export async function deployAccount({ settings = {}, runners, bundled }: TestAccountOptions = {}): Promise<TestAccount> {
  await using parts = new AsyncDisposableStack();
  const bucket = parts.use(await startCountingProxy());
  // The emulator's functions have its environment.
  const aws = parts.use(await startAws({ AWS_ENDPOINT_URL_S3: bucket.url }, { port: 'any' }));
  const { endpoint } = aws;
  bucket.aim(endpoint);
  const proxy = parts.use(await startGatewayProxy());
  const ports = [proxy.url, bucket.url, endpoint].map((url) => Number(new URL(url).port));
  const plane = runners && parts.use(await startFakeRunnerPlane({ out: ports }));
  const folder = parts.use(await tempFolder('slipway-deploy-'));
  const { outputs, stageUrl } = await deployLocalStack({
    endpoint,
    url: proxy.url,
    folder: folder.path,
    ...(bundled && { env: { SLIPWAY_PROGRAMS: '' } }),
    settings: { ...settings, ...(plane === undefined ? {} : { localRunners: plane.url }) },
  });
  proxy.aim(stageUrl);
  const owned = parts.move();
  return {
    aws: endpoint,
    proxy,
    bucket,
    ...(plane === undefined ? {} : { runners: plane }),
    outputs,
    accounts: (request) => invokeLocally(endpoint, outputs.AccountsFunction ?? '', request),
    configure: (program, variables) => configure(endpoint, program, variables),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Lambda's REST API. The emulator reads the service out of a signature that it does not check. */
async function lambda(endpoint: string, method: string, path: string, body?: object): Promise<Record<string, unknown>> {
  const answer = await fetch(`${endpoint}/2015-03-31/functions/${path}`, {
    method,
    headers: {
      'content-type': 'application/json',
      authorization: 'AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0',
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!answer.ok) throw new Error(`${method} ${path}: HTTP ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as Record<string, unknown>;
}

async function configure(
  endpoint: string,
  program: string,
  variables: Readonly<Record<string, string>>,
): Promise<() => Promise<void>> {
  const { Functions } = (await lambda(endpoint, 'GET', '')) as { Functions: { FunctionName: string }[] };
  const name = Functions.find((one) => one.FunctionName.includes(`Builds${program}Function`))?.FunctionName;
  if (name === undefined) throw new Error(`there is no function ${program}`);
  const { Environment } = (await lambda(endpoint, 'GET', `${name}/configuration`)) as {
    Environment?: { Variables?: Record<string, string> };
  };
  const before = Environment?.Variables ?? {};
  const put = async (Variables: Readonly<Record<string, string>>): Promise<void> => {
    await lambda(endpoint, 'PUT', `${name}/configuration`, { Environment: { Variables } });
  };
  await put({ ...before, ...variables });
  return () => put(before);
}
