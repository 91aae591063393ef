// Deploys Slipway alone: `npx cdk deploy`. What a team wants otherwise is said in cdk.json's context or by `-c name=value`; whoever
// wants more puts the construct into an app of their own.
import { App, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Certificate } from 'aws-cdk-lib/aws-certificatemanager';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { AwsSolutionsChecks } from 'cdk-nag';
import type { FrontProps } from './front.ts';
import { Slipway, type SlipwayProps } from './slipway.ts';

/** `local`: for emulators, see docs/verified.md for what differs. */
const settings = ['stage', 'domain', 'certificate', 'hostedZone', 'anonymousPull', 'localUrl', 'accountLogRole'] as const;

const app = new App();
const setting = (name: (typeof settings)[number]): string | undefined => {
  const value: unknown = app.node.tryGetContext(name);
  return value === undefined || value === '' ? undefined : String(value);
};

const local = setting('stage') === 'local';
const stack = new Stack(app, local ? 'slipway-local' : 'slipway', {
  description: 'Slipway: container images without a daemon',
  terminationProtection: !local,
});

function front(): FrontProps {
  if (local) return { kind: 'proxy', url: setting('localUrl') ?? 'http://127.0.0.1:5080' };
  const name = setting('domain');
  if (name === undefined) return { kind: 'cloudfront' };
  const certificate = setting('certificate');
  if (certificate === undefined) throw new Error('-c domain=NAME needs -c certificate=ARN: a certificate for it in this Region');
  const zone = setting('hostedZone')?.split('/');
  if (zone !== undefined && zone.length !== 2) throw new Error('-c hostedZone=ID/NAME, for example Z0123456789/example.com');
  return {
    kind: 'domain',
    name,
    certificate: Certificate.fromCertificateArn(stack, 'Certificate', certificate),
    ...(zone === undefined
      ? {}
      : {
          hostedZone: HostedZone.fromHostedZoneAttributes(stack, 'Zone', { hostedZoneId: zone[0]!, zoneName: zone[1]! }),
        }),
  };
}

const props: SlipwayProps = {
  front: front(),
  anonymousPull: (setting('anonymousPull') ?? '').split(',').filter((pattern) => pattern !== ''),
  accountLogRole: setting('accountLogRole') !== 'false',
  ...(local ? { removalPolicy: RemovalPolicy.DESTROY, functionEnvironment: { SLIPWAY_S3_PATH_STYLE: 'true' } } : {}),
};
new Slipway(stack, 'Slipway', props);
Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
