// Where uploads go on that are too large for API Gateway: an HTTP server as a Lambda Web Function, which takes request bodies as they
// come, of any size, for up to fifteen minutes each. docs/decisions/0019 has the reasons, and what has not been seen on AWS.
import { Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { WebFunction, WebFunctionAuthType, WebFunctionCode, WebFunctionRuntime } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { Bucket } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { acknowledgeWildcard } from './acknowledge.ts';
import { grantObjects, grantRecords } from './functions.ts';
import { programAsset } from './program-bundle.ts';
import type { Storage } from './storage.ts';

export type UploadHostChoice =
  /** A Lambda Web Function: in Regions that have them, on arm64. */
  | 'web-function'
  /** A server of the team's that runs functions/upload, without a slash at the end. */
  | { readonly url: string };

export interface UploadHostProps {
  readonly storage: Storage;
  readonly environment: Readonly<Record<string, string>>;
  readonly logRetention: RetentionDays;
}

/** What a client holds of one upload at a time, and the store's parts: a few of them fit into 2 GB. */
const uploadsAtOnce = 8;

export class UploadHost extends Construct {
  readonly function: WebFunction;
  /** Without a slash at the end. */
  readonly url: string;

  constructor(scope: Construct, id: string, props: UploadHostProps) {
    super(scope, id);
    const { path, options } = programAsset('upload');
    const logGroup = new LogGroup(this, 'Log', { retention: props.logRetention, removalPolicy: RemovalPolicy.DESTROY });
    const role = new Role(this, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    logGroup.grantWrite(role);
    this.function = new WebFunction(this, 'Function', {
      role,
      code: WebFunctionCode.fromAssetToManagedBucket(path, options),
      entryPoint: 'handler.js',
      runtime: WebFunctionRuntime.NODEJS_24_X,
      // Each URL carries a ticket for its upload, which the server checks.
      defaultEndpointAuth: WebFunctionAuthType.APPLICATION_MANAGED,
      timeout: Duration.minutes(15),
      maxConcurrencyPerEnvironment: uploadsAtOnce,
      environment: { ...props.environment },
      logGroup,
    });
    grantRecords(this, props.storage);
    grantObjects(this, props.storage);
    props.storage.tokenSecret.grantRead(this.function);
    acknowledgeCodeCopy(Stack.of(this));
    this.url = `https://${this.function.endpoint.domainName}`;
  }
}

/** A Web Function's code is to be in a versioned bucket: the CDK makes one for the stack, and a function that copies the asset there. */
function acknowledgeCodeCopy(stack: Stack): void {
  for (const made of stack.node.children) {
    if (made.node.id === 'AWSCDKWebFunctionAssetBucket') {
      Validations.of(made).acknowledge({
        id: 'AwsSolutions-S1',
        reason: 'Nothing but this program is in it, which the CDK put there.',
      });
    }
    if (!made.node.id.startsWith('Custom::S3ObjectCopy')) continue;
    const reason = 'The CDK’s own: it copies the program from the bucket of assets when the stack is deployed.';
    const { qualifier } = stack.synthesizer as { readonly qualifier?: string };
    const assets = `arn:<AWS::Partition>:s3:::cdk-${qualifier ?? 'hnb659fds'}-assets-<AWS::AccountId>-<AWS::Region>/*`;
    const copies = stack.node.tryFindChild('AWSCDKWebFunctionAssetBucket') as Bucket | undefined;
    for (const id of [
      'IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]',
      `IAM5[Resource::${assets}]`,
      ...(['s3:Abort*', 's3:DeleteObject*'] as const).map((action) => `IAM5[Action::${action}]`),
    ])
      Validations.of(made).acknowledge({ id: `AwsSolutions-${id}`, reason });
    if (copies !== undefined) acknowledgeWildcard(made, copies.arnForObjects('web-function/*'), reason);
  }
}
