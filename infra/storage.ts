// What an installation keeps: one bucket, one table, and the secret that signs tokens.
import { Duration, RemovalPolicy, Validations } from 'aws-cdk-lib';
import { AttributeType, BillingMode, Table, TableEncryption } from 'aws-cdk-lib/aws-dynamodb';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import { BlockPublicAccess, Bucket, BucketEncryption, type IBucket, ObjectOwnership } from 'aws-cdk-lib/aws-s3';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';

export interface StorageProps {
  /** What becomes of images and records when the stack is deleted. */
  readonly removalPolicy: RemovalPolicy;
  /** Encrypts bucket, table and secret. Absent: keys that AWS owns, which cost nothing. */
  readonly encryptionKey?: IKey;
  /** Where S3 writes its access log. Absent: no log. */
  readonly accessLogs?: { readonly bucket: IBucket; readonly prefix?: string };
  /** Days after which the parts of an upload that nobody finished are freed. At least 7: an upload's own record lives that long. */
  readonly abandonedUploadDays: number;
  /** Days after which the context archives that clients put below `contexts/` are deleted. Absent: they are the clients' own, and kept. */
  readonly archivesKeptDays?: number;
}

/** Names of the table's attributes, as shared/store/aws/dynamo-table.ts has them. */
export const tableShape = { partition: 'pk', sort: 'sk', expiry: 'expires' } as const;

/** Where clients put context archives, as shared/context/archive-object.ts has it. */
export const archiveFolder = 'contexts/';

export class Storage extends Construct {
  readonly bucket: Bucket;
  readonly table: Table;
  readonly tokenSecret: Secret;

  constructor(scope: Construct, id: string, props: StorageProps) {
    super(scope, id);
    const { removalPolicy, encryptionKey, accessLogs } = props;
    if (!Number.isInteger(props.abandonedUploadDays) || props.abandonedUploadDays < 7) {
      throw new Error(`abandonedUploadDays: ${props.abandonedUploadDays} is not a whole number of 7 or more`);
    }
    const { archivesKeptDays } = props;
    if (archivesKeptDays !== undefined && (!Number.isInteger(archivesKeptDays) || archivesKeptDays < 1)) {
      throw new Error(`archivesKeptDays: ${archivesKeptDays} is not a whole number of 1 or more`);
    }
    this.bucket = new Bucket(this, 'Bucket', {
      removalPolicy,
      encryption: encryptionKey === undefined ? BucketEncryption.S3_MANAGED : BucketEncryption.KMS,
      ...(encryptionKey === undefined ? {} : { encryptionKey, bucketKeyEnabled: true }),
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
      enforceSSL: true,
      minimumTLSVersion: 1.2,
      // No versions: every object is written once under a name of its own, and never again.
      versioned: false,
      lifecycleRules: [
        { id: 'abandoned-uploads', abortIncompleteMultipartUploadAfter: Duration.days(props.abandonedUploadDays) },
        ...(archivesKeptDays === undefined
          ? []
          : [{ id: 'context-archives', prefix: archiveFolder, expiration: Duration.days(archivesKeptDays) }]),
      ],
      ...(accessLogs === undefined
        ? {}
        : {
            serverAccessLogsBucket: accessLogs.bucket,
            ...(accessLogs.prefix === undefined ? {} : { serverAccessLogsPrefix: accessLogs.prefix }),
          }),
    });
    if (accessLogs === undefined) {
      Validations.of(this.bucket).acknowledge({
        id: 'AwsSolutions-S1',
        reason:
          'Nobody reads or writes the bucket but by a URL that the registry signed for one object and 15 minutes, after the API wrote an access log line. Pass `accessLogs` for S3’s own log.',
      });
    }
    this.table = new Table(this, 'Table', {
      removalPolicy,
      partitionKey: { name: tableShape.partition, type: AttributeType.STRING },
      sortKey: { name: tableShape.sort, type: AttributeType.STRING },
      timeToLiveAttribute: tableShape.expiry,
      billingMode: BillingMode.PAY_PER_REQUEST,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      deletionProtection: removalPolicy !== RemovalPolicy.DESTROY,
      encryption: encryptionKey === undefined ? TableEncryption.DEFAULT : TableEncryption.CUSTOMER_MANAGED,
      ...(encryptionKey === undefined ? {} : { encryptionKey }),
    });
    this.tokenSecret = new Secret(this, 'TokenSecret', {
      description: 'Signs the tokens of the Slipway registry. Changing it ends every token within minutes.',
      generateSecretString: { passwordLength: 64, excludePunctuation: true },
      ...(encryptionKey === undefined ? {} : { encryptionKey }),
      // Nothing is lost with it: everybody logs in again.
      removalPolicy: RemovalPolicy.DESTROY,
    });
    Validations.of(this.tokenSecret).acknowledge({
      id: 'AwsSolutions-SMG4',
      reason:
        'Rotation ends every token at once, mid-push ones too, so it is left to the team: put a new value and all functions use it within five minutes.',
    });
  }
}
