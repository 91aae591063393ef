// The deployed programs: Node 24 on arm64, each bundled by esbuild, each with a role of its own.
import { type Duration, RemovalPolicy, Size } from 'aws-cdk-lib';
import { Effect, type IGrantable, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import { Architecture, Code, Function as LambdaFunction, Runtime } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { acknowledgeWildcard } from './acknowledge.ts';
import { programAsset } from './program-bundle.ts';
import type { Storage } from './storage.ts';

export interface ProgramProps {
  /** The folder in functions/. */
  readonly folder: string;
  readonly description: string;
  /** MiB; a full vCPU comes with 1769. */
  readonly memory: number;
  readonly timeout: Duration;
  readonly environment: Readonly<Record<string, string>>;
  readonly logRetention: RetentionDays;
  /** How it is invoked asynchronously, where it is. */
  readonly asynchronous?: { readonly retryAttempts: number; readonly maxEventAge: Duration };
  /** MiB of /tmp. 512 when absent. */
  readonly disk?: number;
}

/** One function with its log group and its role, which may write that log and nothing else until it is granted more. */
export class Program extends Construct {
  readonly function: LambdaFunction;

  constructor(scope: Construct, id: string, props: ProgramProps) {
    super(scope, id);
    const logGroup = new LogGroup(this, 'Log', { retention: props.logRetention, removalPolicy: RemovalPolicy.DESTROY });
    const role = new Role(this, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    const { path, options } = programAsset(props.folder);
    this.function = new LambdaFunction(this, 'Function', {
      description: props.description,
      handler: 'handler.handler',
      code: Code.fromAsset(path, options),
      runtime: Runtime.NODEJS_24_X,
      architecture: Architecture.ARM_64,
      memorySize: props.memory,
      timeout: props.timeout,
      role,
      logGroup,
      environment: { ...props.environment },
      ...(props.disk === undefined ? {} : { ephemeralStorageSize: Size.mebibytes(props.disk) }),
    });
    if (props.asynchronous !== undefined) this.function.configureAsyncInvoke({ ...props.asynchronous });
    logGroup.grantWrite(role);
  }
}

/** Rights on the table by partition. `read` and `write` never scan it. */
export const tableActions = {
  read: ['dynamodb:GetItem', 'dynamodb:BatchGetItem', 'dynamodb:Query'],
  write: ['dynamodb:PutItem', 'dynamodb:DeleteItem', 'dynamodb:ConditionCheckItem'],
} as const;

/** The partition that shared/auth/accounts.ts keeps accounts in; a test compares the two. */
export const accountsPartition = 'accounts';

/** What is granted rights: a function, or what has one. */
export type Grantee = Construct & { readonly function: IGrantable & { addToRolePolicy(statement: PolicyStatement): void } };

/** Everything but the accounts. */
export function grantRecords(program: Grantee, storage: Storage): void {
  program.function.addToRolePolicy(
    new PolicyStatement({
      sid: 'Records',
      actions: [...tableActions.read, ...tableActions.write],
      resources: [storage.table.tableArn],
    }),
  );
  program.function.addToRolePolicy(
    new PolicyStatement({
      sid: 'NoAccounts',
      effect: Effect.DENY,
      actions: [...tableActions.read, ...tableActions.write],
      resources: [storage.table.tableArn],
      conditions: { 'ForAnyValue:StringEquals': { 'dynamodb:LeadingKeys': [accountsPartition] } },
    }),
  );
  grantKey(program, storage.table.encryptionKey);
}

/** The accounts and nothing else. */
export function grantAccounts(program: Grantee, storage: Storage, rights: 'read' | 'write'): void {
  program.function.addToRolePolicy(
    new PolicyStatement({
      sid: 'Accounts',
      actions: [...tableActions.read, ...(rights === 'write' ? tableActions.write : [])],
      resources: [storage.table.tableArn],
      conditions: { 'ForAllValues:StringEquals': { 'dynamodb:LeadingKeys': [accountsPartition] } },
    }),
  );
  grantKey(program, storage.table.encryptionKey);
}

/** What S3 and DynamoDB do with a team's key in the function's name. */
function grantKey(program: Grantee, key: IKey | undefined): void {
  key?.grant(program.function, 'kms:Decrypt', 'kms:Encrypt', 'kms:GenerateDataKey', 'kms:DescribeKey');
}

/** What others put there to be built from: read only. */
export function grantArchives(program: Grantee, storage: Storage): void {
  const archives = storage.bucket.arnForObjects('contexts/*');
  program.function.addToRolePolicy(new PolicyStatement({ sid: 'Archives', actions: ['s3:GetObject'], resources: [archives] }));
  acknowledgeWildcard(
    program,
    archives,
    'People name their archives as they like; everything else in the bucket has another folder.',
  );
}

/** The two folders of the bucket that shared/store/keys.ts draws. */
export function grantObjects(program: Grantee, storage: Storage): void {
  const { bucket } = storage;
  const folders = ['blobs', 'uploads'].map((folder) => bucket.arnForObjects(`${folder}/*`));
  program.function.addToRolePolicy(
    new PolicyStatement({
      sid: 'Objects',
      actions: ['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:AbortMultipartUpload', 's3:ListMultipartUploadParts'],
      resources: folders,
    }),
  );
  program.function.addToRolePolicy(
    // Without it S3 answers 403 where it means 404, and a missing object could not be told from a missing right.
    new PolicyStatement({ sid: 'TellMissing', actions: ['s3:ListBucket'], resources: [bucket.bucketArn] }),
  );
  grantKey(program, bucket.encryptionKey);
  for (const folder of folders) {
    acknowledgeWildcard(
      program,
      folder,
      'Object keys are digests and random ids: they cannot be listed in a policy. The two folders are all there is.',
    );
  }
}
