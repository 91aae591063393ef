// Slipway in an account: `new Slipway(stack, 'Slipway')` in any CDK app, or app.ts for a stack of its own.
import { CfnOutput, Duration, RemovalPolicy } from 'aws-cdk-lib';
import type { IAlarmAction } from 'aws-cdk-lib/aws-cloudwatch';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { BuildWorkflow, type Prices } from './build-workflow.ts';
import { Collection, type CollectionProps } from './collection.ts';
import { Front, type FrontProps } from './front.ts';
import { grantAccounts, grantObjects, grantRecords, Program } from './functions.ts';
import { Monitoring } from './monitoring.ts';
import { RegistryApi } from './registry-api.ts';
import { Runners, type RunnersProps } from './runners.ts';
import { Storage, type StorageProps } from './storage.ts';
import { Transfers } from './transfers.ts';
import { UploadHost, type UploadHostChoice } from './upload-host.ts';

export interface SlipwayProps {
  /** How clients reach the registry. A CloudFront distribution when absent. */
  readonly front?: FrontProps;
  /** Patterns of repositories that anybody may pull without logging in, such as `public/**`. None when absent. */
  readonly anonymousPull?: readonly string[];
  /** What becomes of bucket and table when the stack is deleted. They are kept when absent. */
  readonly removalPolicy?: RemovalPolicy;
  /** Encrypts bucket, table and secret. Keys of AWS's own when absent. */
  readonly encryptionKey?: IKey;
  /** Where S3 writes its own access log. No such log when absent. */
  readonly accessLogs?: StorageProps['accessLogs'];
  /** Days until the parts of an abandoned upload are freed; at least 7, which is also what it is when absent. */
  readonly abandonedUploadDays?: number;
  /** Days until the context archives that clients put below `contexts/` are deleted. They are kept when absent. */
  readonly archivesKeptDays?: number;
  /** How long logs are kept. A month when absent. */
  readonly logRetention?: RetentionDays;
  /** Told when an alarm changes, an SNS topic for one. */
  readonly alarmActions?: readonly IAlarmAction[];
  /** Requests a second, and how many at once above that. 500 and 1000 when absent. */
  readonly throttle?: { readonly rate: number; readonly burst: number };
  /** False where the account has a role for API Gateway's logs already: there is one for all APIs of a Region. True when absent. */
  readonly accountLogRole?: boolean;
  /** What RUN is executed by. MicroVMs for arm64 where the Region has them, CodeBuild for the rest, when absent. */
  readonly runners?: RunnersProps;
  /** What a build is for whose request names no platform. `linux/arm64` when absent. */
  readonly platform?: 'linux/arm64' | 'linux/amd64';
  /** Stages of one build that are executed at the same time. 10 when absent. */
  readonly stagesAtOnce?: number;
  /**
   * MiB of the function that executes stages without RUN, 1769 to 10240: a vCPU comes with each 1769. 3008 when absent, which is what new
   * accounts may have at the most.
   */
  readonly stageMemory?: number;
  /** What the cost of builds is estimated with. List prices of us-east-1 when absent. */
  readonly prices?: Prices;
  /** When what nothing needs any more is taken away. `false`: never. After 14 unused days when absent. */
  readonly collection?: CollectionProps | false;
  /**
   * Where docker, podman and skopeo push layers of more than 4.5 MB, which API Gateway does not pass. Absent: nowhere, and they are told to
   * use `slipway push`. A Web Function has not been seen on AWS yet (docs/verified.md).
   */
  readonly uploadHost?: UploadHostChoice;
  /** More variables for every function: for emulators, which need to be told more. */
  readonly functionEnvironment?: Readonly<Record<string, string>>;
}

export class Slipway extends Construct {
  readonly storage: Storage;
  readonly api: RegistryApi;
  readonly front: Front;
  readonly runners: Runners;
  readonly builds: BuildWorkflow;
  readonly transfers: Transfers;
  readonly monitoring: Monitoring;
  /** Absent where nothing is collected. */
  readonly collection: Collection | undefined;
  /** Creates and removes accounts; whoever may invoke it may let people in. */
  readonly accounts: Program;

  constructor(scope: Construct, id: string, props: SlipwayProps = {}) {
    super(scope, id);
    const front = props.front ?? { kind: 'cloudfront' };
    const logRetention = props.logRetention ?? RetentionDays.ONE_MONTH;
    this.storage = new Storage(this, 'Storage', {
      removalPolicy: props.removalPolicy ?? RemovalPolicy.RETAIN,
      abandonedUploadDays: props.abandonedUploadDays ?? 7,
      ...(props.archivesKeptDays === undefined ? {} : { archivesKeptDays: props.archivesKeptDays }),
      ...(props.encryptionKey === undefined ? {} : { encryptionKey: props.encryptionKey }),
      ...(props.accessLogs === undefined ? {} : { accessLogs: props.accessLogs }),
    });
    const common = { logRetention, timeout: Duration.seconds(29) };
    const environment = { SLIPWAY_TABLE: this.storage.table.tableName, ...props.functionEnvironment };
    const tokenSecret = { SLIPWAY_TOKEN_SECRET: this.storage.tokenSecret.secretArn };
    const registry = new Program(this, 'Registry', {
      ...common,
      folder: 'registry',
      description: 'Slipway: the registry',
      memory: 1024,
      environment: { ...environment, ...tokenSecret, SLIPWAY_BUCKET: this.storage.bucket.bucketName },
    });
    const token = new Program(this, 'Token', {
      ...common,
      folder: 'token',
      description: 'Slipway: gives tokens for passwords',
      // A password's hash is slow on purpose, and slower on a part of a CPU.
      memory: 1769,
      environment: { ...environment, ...tokenSecret, SLIPWAY_ANONYMOUS_PULL: (props.anonymousPull ?? []).join(',') },
    });
    const authorizer = new Program(this, 'Authorizer', {
      ...common,
      folder: 'authorizer',
      description: 'Slipway: lets calls with a good token pass',
      memory: 512,
      timeout: Duration.seconds(10),
      environment: { ...tokenSecret, ...props.functionEnvironment },
    });
    this.accounts = new Program(this, 'Accounts', {
      ...common,
      folder: 'accounts',
      description: 'Slipway: creates, renews, removes and lists accounts; invoked by administrators',
      memory: 1769,
      environment,
    });
    grantRecords(registry, this.storage);
    grantObjects(registry, this.storage);
    grantAccounts(token, this.storage, 'read');
    grantAccounts(this.accounts, this.storage, 'write');
    for (const program of [registry, token, authorizer]) this.storage.tokenSecret.grantRead(program.function);

    this.runners = new Runners(this, 'Runners', { ...props.runners, logRetention });
    this.builds = new BuildWorkflow(this, 'Builds', {
      storage: this.storage,
      runners: this.runners,
      environment: { SLIPWAY_PLATFORM: props.platform ?? 'linux/arm64', ...environment },
      logRetention,
      ...(props.stagesAtOnce === undefined ? {} : { concurrency: props.stagesAtOnce }),
      ...(props.stageMemory === undefined ? {} : { stageMemory: props.stageMemory }),
      ...(props.prices === undefined ? {} : { prices: props.prices }),
    });

    this.transfers = new Transfers(this, 'Transfers', {
      storage: this.storage,
      api: this.builds.api,
      environment: { SLIPWAY_PLATFORM: props.platform ?? 'linux/arm64', ...environment },
      logRetention,
    });

    const { collection = {} } = props;
    this.collection =
      collection === false
        ? undefined
        : new Collection(this, 'Collection', { ...collection, storage: this.storage, environment, logRetention });

    this.api = new RegistryApi(this, 'Api', {
      registry,
      token,
      authorizer,
      control: this.builds.api,
      jobs: this.builds.jobs,
      logRetention,
      throttle: props.throttle ?? { rate: 500, burst: 1000 },
      accountLogRole: props.accountLogRole ?? true,
      hideOwnHost: front.kind === 'domain',
    });
    this.front = new Front(this, 'Front', this.api, front);
    this.api.addResponses(this.front);
    for (const program of [registry, token, authorizer]) {
      program.function.addEnvironment('SLIPWAY_AUDIENCE', this.front.host);
    }
    this.builds.addFront(this.front.url, this.front.host);
    const { uploadHost } = props;
    if (uploadHost !== undefined) {
      const url =
        uploadHost === 'web-function'
          ? new UploadHost(this, 'UploadHost', {
              storage: this.storage,
              logRetention,
              environment: {
                ...environment,
                ...tokenSecret,
                SLIPWAY_BUCKET: this.storage.bucket.bucketName,
                SLIPWAY_URL: this.front.url,
              },
            }).url
          : uploadHost.url;
      registry.function.addEnvironment('SLIPWAY_UPLOAD_URL', url);
    }
    this.monitoring = new Monitoring(this, 'Monitoring', {
      api: this.api.api,
      storage: this.storage,
      programs: {
        Registry: registry,
        Token: token,
        Authorizer: authorizer,
        Accounts: this.accounts,
        Transfer: this.transfers.program,
        ...(this.collection === undefined ? {} : { Collection: this.collection.program }),
      },
      builds: this.builds,
      runners: this.runners,
      alarmActions: props.alarmActions ?? [],
    });

    const output = (name: string, value: string, description: string): void => {
      new CfnOutput(this, name, { value, description }).overrideLogicalId(name);
    };
    output('Endpoint', this.front.url, 'Where the registry is, and builds: the value of SLIPWAY_ENDPOINT');
    output('Host', this.front.host, 'What comes before the first slash in an image’s name');
    output('StageUrl', this.api.api.url, 'What stands behind the endpoint: for a proxy of your own');
    output(
      'Archives',
      `s3://${this.storage.bucket.bucketName}/contexts/`,
      'Where archives are put to be built from: aws s3 cp, slipway build',
    );
    output('Bucket', this.storage.bucket.bucketName, 'Holds the images; is kept when the stack is deleted');
    output('Table', this.storage.table.tableName, 'Holds the records; is kept when the stack is deleted');
    output('AccountsFunction', this.accounts.function.functionName, 'Creates and removes accounts');
    if (this.collection !== undefined) {
      output('CollectFunction', this.collection.program.function.functionName, 'Takes away what nothing needs any more');
    }
    output(
      'CreateFirstUser',
      `aws lambda invoke --function-name ${this.accounts.function.functionName} --cli-binary-format raw-in-base64-out --payload '{"do":"create","name":"admin"}' /dev/stdout`,
      'Prints the password of a first user, once',
    );
    output('Login', `docker login ${this.front.host} --username admin`, 'Asks for that password');
    if (this.front.domain !== undefined) {
      output('DomainTarget', this.front.domain.domainNameAliasDomainName, 'What the domain’s record is an alias of');
    }
  }
}
