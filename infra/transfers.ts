// Pulls from other registries and pushes to them: longer than a gateway waits, so a function of its own does them, and the control API
// starts it.
import { Duration } from 'aws-cdk-lib';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { grantObjects, grantRecords, Program } from './functions.ts';
import type { Storage } from './storage.ts';

export interface TransfersProps {
  readonly storage: Storage;
  /** The control API. */
  readonly api: Program;
  /** Variables that all functions of the home have. */
  readonly environment: Readonly<Record<string, string>>;
  readonly logRetention: RetentionDays;
}

export class Transfers extends Construct {
  readonly program: Program;

  constructor(scope: Construct, id: string, { storage, api, environment, logRetention }: TransfersProps) {
    super(scope, id);
    this.program = new Program(this, 'Transfer', {
      folder: 'transfer',
      description: 'Slipway: pulls images from other registries, and pushes to them',
      // A whole vCPU, for TLS and digests; what it holds are some pieces of three to five layers.
      memory: 1769,
      timeout: Duration.minutes(15),
      environment: { ...environment, SLIPWAY_BUCKET: storage.bucket.bucketName },
      logRetention,
      asynchronous: {
        // Not again by itself: what it failed with is written down, and who follows the transfer has been told that it died.
        retryAttempts: 0,
        // Waiting for a free function; shared/transfer/transfer-records.ts gives up half a minute after.
        maxEventAge: Duration.minutes(2),
      },
    });
    // Neither the secret of tokens, nor accounts, nor the state machine.
    grantRecords(this.program, storage);
    grantObjects(this.program, storage);
    api.function.addEnvironment('SLIPWAY_TRANSFER_FUNCTION', this.program.function.functionName);
    api.function.addToRolePolicy(
      new PolicyStatement({
        sid: 'StartTransfers',
        actions: ['lambda:InvokeFunction'],
        resources: [this.program.function.functionArn],
      }),
    );
  }
}
