// Deploys Slipway alone: `npx cdk deploy`. What a team wants otherwise is said in cdk.json's context or by `-c name=value`; whoever
// wants more puts the construct into an app of their own.
import { readFileSync } from 'node:fs';
import { App, Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Certificate } from 'aws-cdk-lib/aws-certificatemanager';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { AwsSolutionsChecks } from 'cdk-nag';
import type { Prices } from './build-workflow.ts';
import type { FrontProps } from './front.ts';
import { Slipway, type SlipwayProps } from './slipway.ts';

/** `local`: for emulators, see docs/verified.md for what differs. */
const settings = [
  'stage',
  'domain',
  'certificate',
  'hostedZone',
  'anonymousPull',
  'accountLogRole',
  'runArm64',
  'runAmd64',
  'platform',
  'stageMemory',
  'prices',
  'collectAfterDays',
  'archivesKeptDays',
  'uploadHost',
  'localUrl',
  'localRunners',
] as const;

const app = new App();
const setting = (name: (typeof settings)[number]): string | undefined => {
  const value: unknown = app.node.tryGetContext(name);
  return value === undefined || value === '' ? undefined : String(value);
};

const local = setting('stage') === 'local';
const stack = new Stack(app, local ? 'slipway-local' : 'slipway', {
  description: 'Slipway: container images without a daemon',
  terminationProtection: !local,
  // Where the CDK is told, the Region decides whether there are MicroVMs.
  ...(local ? {} : { env: { account: process.env.CDK_DEFAULT_ACCOUNT, region: process.env.CDK_DEFAULT_REGION } }),
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

/** One of the words, or undefined where nothing is said. */
function oneOf<Word extends string>(name: (typeof settings)[number], words: readonly Word[]): Word | undefined {
  const said = setting(name);
  if (said === undefined) return undefined;
  const word = words.find((one) => one === said);
  if (word === undefined) throw new Error(`-c ${name}=${said}: one of ${words.join(', ')} is expected`);
  return word;
}

function builds(): Pick<SlipwayProps, 'runners' | 'platform' | 'prices' | 'stageMemory'> {
  const arm64 = oneOf('runArm64', ['microvm', 'codebuild', 'none']);
  const amd64 = oneOf('runAmd64', ['codebuild', 'none']);
  const platform = oneOf('platform', ['linux/arm64', 'linux/amd64']);
  const prices = setting('prices');
  const stageMemory = setting('stageMemory');
  return {
    ...(stageMemory === undefined ? {} : { stageMemory: Number(stageMemory) }),
    ...(prices === undefined ? {} : { prices: JSON.parse(readFileSync(prices, 'utf8')) as Prices }),
    runners: { ...(arm64 === undefined ? {} : { arm64 }), ...(amd64 === undefined ? {} : { amd64 }) },
    ...(platform === undefined ? {} : { platform }),
  };
}

/** A whole number of days, `never`, or undefined where nothing is said. */
function daysOf(name: (typeof settings)[number]): number | 'never' | undefined {
  const said = setting(name);
  if (said === undefined || said === 'never') return said;
  const days = Number(said);
  if (Number.isInteger(days) && days > 0) return days;
  throw new Error(`-c ${name}=${said}: a whole number of days, or never, is expected`);
}

function collection(): Pick<SlipwayProps, 'collection'> {
  const days = daysOf('collectAfterDays');
  if (days === undefined) return {};
  return { collection: days === 'never' ? false : { after: Duration.days(days) } };
}

function archives(): Pick<SlipwayProps, 'archivesKeptDays'> {
  const days = daysOf('archivesKeptDays');
  return typeof days === 'number' ? { archivesKeptDays: days } : {};
}

/** What emulators need to be told, and what they have no service for (docs/verified.md). */
function emulated(): SlipwayProps {
  const runners = setting('localRunners');
  return {
    removalPolicy: RemovalPolicy.DESTROY,
    platform: process.arch === 'x64' ? 'linux/amd64' : 'linux/arm64',
    runners: { arm64: 'codebuild', amd64: 'codebuild' },
    functionEnvironment: {
      SLIPWAY_S3_PATH_STYLE: 'true',
      // Registries to build from are on this machine as well.
      SLIPWAY_THIS_MACHINE: 'reachable',
      // The SDK's own names for where a service is.
      ...(runners === undefined ? {} : { AWS_ENDPOINT_URL_CODEBUILD: runners, AWS_ENDPOINT_URL_LAMBDA_MICROVMS: runners }),
    },
  };
}

/** `web-function`, or the URL of a server of the team's. */
function uploads(): Pick<SlipwayProps, 'uploadHost'> {
  const said = setting('uploadHost');
  if (said === undefined) return {};
  if (said === 'web-function') return { uploadHost: said };
  if (!URL.canParse(said)) throw new Error(`-c uploadHost=${said}: web-function or a URL is expected`);
  return { uploadHost: { url: said.replace(/\/+$/, '') } };
}

const props: SlipwayProps = {
  ...uploads(),
  ...builds(),
  ...collection(),
  ...archives(),
  front: front(),
  anonymousPull: (setting('anonymousPull') ?? '').split(',').filter((pattern) => pattern !== ''),
  accountLogRole: setting('accountLogRole') !== 'false',
  ...(local ? emulated() : {}),
};
new Slipway(stack, 'Slipway', props);
Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
