// What the stack promises about security and data, read off the template. Nothing is bundled for it: that takes seconds, and the
// account's tests and bench/functions.ts do it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { App, Stack, Validations } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { Certificate } from 'aws-cdk-lib/aws-certificatemanager';
import { Key } from 'aws-cdk-lib/aws-kms';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import { AwsSolutionsChecks } from 'cdk-nag';
import { beforeAll, describe, expect, test } from 'vitest';
import * as gateway from '../../functions/gateway.ts';
import type { FrontProps } from '../../infra/front.ts';
import { accountsPartition } from '../../infra/functions.ts';
import { tooLarge } from '../../infra/registry-api.ts';
import { Slipway, type SlipwayProps } from '../../infra/slipway.ts';
import { tableShape } from '../../infra/storage.ts';
import { archiveFolder } from '../../shared/context/archive-object.ts';
import { DynamoTable } from '../../shared/store/aws/dynamo-table.ts';
import { accountKeys } from '../../shared/store/keys.ts';
import { patience } from '../../shared/transfer/transfer-records.ts';
import { asCloudFrontSpells } from '../support/gateway-proxy.ts';
import { tempFolder } from '../support/temp.ts';

interface Statement {
  readonly Sid?: string;
  readonly Effect: string;
  readonly Action: string | readonly string[];
  readonly Resource: unknown;
  readonly Condition?: unknown;
}

const made = (props?: (stack: Stack) => SlipwayProps, outdir?: string) => {
  const app = new App({ context: { 'aws:cdk:bundling-stacks': [] }, ...(outdir === undefined ? {} : { outdir }) });
  const stack = new Stack(app, 'test');
  new Slipway(stack, 'Slipway', props?.(stack));
  return { app, stack };
};

const domain = (stack: Stack): FrontProps => ({
  kind: 'domain',
  name: 'registry.example.com',
  certificate: Certificate.fromCertificateArn(stack, 'Certificate', 'arn:aws:acm:eu-west-1:123456789012:certificate/x'),
  hostedZone: HostedZone.fromHostedZoneAttributes(stack, 'Zone', { hostedZoneId: 'Z1', zoneName: 'example.com' }),
});

/** The statements of the role that the function described so has. */
function statementsOf(template: Template, description: string): readonly Statement[] {
  const functions = template.findResources('AWS::Lambda::Function', {
    Properties: { Description: Match.stringLikeRegexp(description) },
  });
  const role = Object.values(functions).map((one) => one.Properties.Role['Fn::GetAtt'][0] as string)[0];
  return Object.values(template.findResources('AWS::IAM::Policy'))
    .filter((policy) => (policy.Properties.Roles as { Ref: string }[]).some(({ Ref }) => Ref === role))
    .flatMap((policy) => policy.Properties.PolicyDocument.Statement as Statement[]);
}

const actionsOf = (statements: readonly Statement[], effect = 'Allow') =>
  statements
    .filter((one) => one.Effect === effect)
    .flatMap((one) => one.Action)
    .sort();

let template: Template;

beforeAll(() => {
  template = Template.fromStack(made().stack);
});

describe('what is kept', () => {
  test('outlives the stack, encrypted, and is not for the public', () => {
    template.hasResource('AWS::S3::Bucket', {
      DeletionPolicy: 'Retain',
      UpdateReplacePolicy: 'Retain',
      Properties: {
        BucketEncryption: Match.anyValue(),
        OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] },
        PublicAccessBlockConfiguration: {
          BlockPublicAcls: true,
          BlockPublicPolicy: true,
          IgnorePublicAcls: true,
          RestrictPublicBuckets: true,
        },
      },
    });
    template.hasResource('AWS::DynamoDB::Table', {
      DeletionPolicy: 'Retain',
      UpdateReplacePolicy: 'Retain',
      Properties: {
        BillingMode: 'PAY_PER_REQUEST',
        TimeToLiveSpecification: { AttributeName: 'expires', Enabled: true },
        DeletionProtectionEnabled: true,
        PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
      },
    });
    template.resourceCountIs('AWS::S3::Bucket', 1);
    template.resourceCountIs('AWS::DynamoDB::Table', 1);
  });

  test('is reached over TLS only', () => {
    template.hasResourceProperties('AWS::S3::BucketPolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({ Effect: 'Deny', Action: 's3:*', Condition: { Bool: { 'aws:SecureTransport': 'false' } } }),
          Match.objectLike({ Effect: 'Deny', Action: 's3:*', Condition: { NumericLessThan: { 's3:TlsVersion': 1.2 } } }),
        ]),
      },
    });
  });

  test('does not hold the parts of abandoned uploads for ever, nor free them while an upload may go on', () => {
    template.hasResourceProperties('AWS::S3::Bucket', {
      LifecycleConfiguration: {
        Rules: [Match.objectLike({ AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 }, Status: 'Enabled' })],
      },
    });
    expect(() => made(() => ({ abandonedUploadDays: 6 }))).toThrow('7 or more');
  });

  test('deletes the archives of contexts only where it is told to', () => {
    const rules = (of: Template) =>
      Object.values(of.findResources('AWS::S3::Bucket')).map((bucket) => bucket.Properties.LifecycleConfiguration.Rules);
    expect(rules(template)).toEqual([[expect.objectContaining({ Id: 'abandoned-uploads' })]]);
    expect(rules(Template.fromStack(made(() => ({ archivesKeptDays: 30 })).stack))).toEqual([
      [
        expect.objectContaining({ Id: 'abandoned-uploads' }),
        { Id: 'context-archives', Prefix: archiveFolder, ExpirationInDays: 30, Status: 'Enabled' },
      ],
    ]);
    expect(() => made(() => ({ archivesKeptDays: 0 }))).toThrow('1 or more');
  });

  test('has the table that the driver needs', () => {
    const input = DynamoTable.createTableInput('x');
    template.hasResourceProperties('AWS::DynamoDB::Table', {
      KeySchema: input.KeySchema,
      AttributeDefinitions: input.AttributeDefinitions,
    });
    expect(input.KeySchema?.map((one) => one.AttributeName)).toEqual([tableShape.partition, tableShape.sort]);
  });

  test('is encrypted with the team’s key where it has one', () => {
    const own = Template.fromStack(made((stack) => ({ encryptionKey: new Key(stack, 'Key') })).stack);
    own.hasResourceProperties('AWS::S3::Bucket', {
      BucketEncryption: {
        ServerSideEncryptionConfiguration: [
          { BucketKeyEnabled: true, ServerSideEncryptionByDefault: Match.objectLike({ SSEAlgorithm: 'aws:kms' }) },
        ],
      },
    });
    own.hasResourceProperties('AWS::DynamoDB::Table', {
      SSESpecification: { SSEEnabled: true, SSEType: 'KMS' },
    });
    for (const role of ['the registry', 'gives tokens', 'creates, renews']) {
      expect(actionsOf(statementsOf(own, role)), role).toContain('kms:Decrypt');
    }
  });
});

describe('a function', () => {
  test('runs Node 24 on arm64, and its log ends', () => {
    const functions = Object.values(template.findResources('AWS::Lambda::Function'));
    expect(functions).toHaveLength(12);
    for (const { Properties } of functions) {
      expect(Properties).toMatchObject({ Runtime: 'nodejs24.x', Architectures: ['arm64'] });
      expect(Properties.LoggingConfig).toBeDefined();
    }
    for (const { Properties } of Object.values(template.findResources('AWS::Logs::LogGroup'))) {
      expect(Properties.RetentionInDays).toBe(30);
    }
  });

  test('has a role of its own that names what it needs, without a managed policy', () => {
    const roles = Object.values(template.findResources('AWS::Lambda::Function')).map(
      (one) => one.Properties.Role['Fn::GetAtt'][0],
    );
    expect(new Set(roles).size).toBe(12);
    for (const description of ['the registry', 'gives tokens', 'good token pass', 'creates, renews']) {
      const statements = statementsOf(template, description);
      for (const action of actionsOf(statements)) expect(action).not.toContain('*');
      for (const { Resource } of statements) expect(Resource).not.toBe('*');
    }
    const lambdaRoles = template.findResources('AWS::IAM::Role', {
      Properties: { AssumeRolePolicyDocument: { Statement: [{ Principal: { Service: 'lambda.amazonaws.com' } }] } },
    });
    for (const role of Object.values(lambdaRoles)) expect(role.Properties.ManagedPolicyArns).toBeUndefined();
  });

  test('may do this and no more', () => {
    const logs = ['logs:CreateLogStream', 'logs:PutLogEvents'];
    const secret = ['secretsmanager:DescribeSecret', 'secretsmanager:GetSecretValue'];
    const read = ['dynamodb:BatchGetItem', 'dynamodb:GetItem', 'dynamodb:Query'];
    const write = ['dynamodb:ConditionCheckItem', 'dynamodb:DeleteItem', 'dynamodb:PutItem'];
    expect(actionsOf(statementsOf(template, 'good token pass'))).toEqual([...logs, ...secret].sort());
    expect(actionsOf(statementsOf(template, 'gives tokens'))).toEqual([...read, ...logs, ...secret].sort());
    expect(actionsOf(statementsOf(template, 'creates, renews'))).toEqual([...read, ...write, ...logs].sort());
    const objects = [
      's3:AbortMultipartUpload',
      's3:DeleteObject',
      's3:GetObject',
      's3:ListBucket',
      's3:ListMultipartUploadParts',
      's3:PutObject',
    ];
    expect(actionsOf(statementsOf(template, 'the registry'))).toEqual([...read, ...write, ...logs, ...secret, ...objects].sort());
    // No secret: it makes and reads no token.
    expect(actionsOf(statementsOf(template, 'pulls images'))).toEqual([...read, ...write, ...logs, ...objects].sort());
  });

  test('reaches accounts only where that is its work', () => {
    expect(accountsPartition).toBe(accountKeys.partition);
    for (const description of ['the registry', 'pulls images']) {
      expect(statementsOf(template, description).find((one) => one.Effect === 'Deny')).toMatchObject({
        Action: expect.arrayContaining(['dynamodb:GetItem', 'dynamodb:Query', 'dynamodb:BatchGetItem', 'dynamodb:PutItem']),
        Condition: { 'ForAnyValue:StringEquals': { 'dynamodb:LeadingKeys': ['accounts'] } },
      });
    }
    for (const description of ['gives tokens', 'creates, renews']) {
      const rights = statementsOf(template, description).find((one) => one.Sid === 'Accounts');
      expect(rights?.Condition).toEqual({ 'ForAllValues:StringEquals': { 'dynamodb:LeadingKeys': ['accounts'] } });
    }
  });

  test('that creates accounts has no door to the outside', () => {
    const permissions = Object.values(template.findResources('AWS::Lambda::Permission'));
    expect(permissions.length).toBeGreaterThan(0);
    expect(JSON.stringify(permissions)).not.toContain('Accounts');
    for (const { Properties } of permissions) {
      // The launcher is told by EventBridge when an execution has ended, the collection when an hour has.
      const called = /Launch|Collect/.test(JSON.stringify(Properties.FunctionName));
      expect(Properties).toMatchObject({
        Principal: called ? 'events.amazonaws.com' : 'apigateway.amazonaws.com',
        SourceArn: expect.anything(),
      });
    }
  });

  test('is told no secret, only where it is', () => {
    for (const { Properties } of Object.values(template.findResources('AWS::Lambda::Function'))) {
      expect(JSON.stringify(Properties.Environment)).not.toContain('resolve:secretsmanager');
    }
  });
});

describe('the API', () => {
  test('asks for a token everywhere but where tokens are given and jobs are spoken to', () => {
    const methods = Object.values(template.findResources('AWS::ApiGateway::Method'));
    const open = methods.filter((one) => one.Properties.AuthorizationType !== 'CUSTOM');
    expect(methods).toHaveLength(19);
    const opened = open.map(({ Properties: { HttpMethod, Integration } }) => {
      const [, program] = /Slipway(\w+?)Function/.exec(JSON.stringify(Integration.Uri)) ?? [];
      return `${HttpMethod} ${program}`;
    });
    // The jobs' function asks for a job's own token.
    expect(opened.sort()).toEqual(['GET Token', 'POST BuildsJobs', 'POST Token']);
  });

  test('leads the control API and the jobs to functions of their own', () => {
    const resources = template.findResources('AWS::ApiGateway::Resource');
    const pathOf = (id: string): string => {
      const { ParentId, PathPart } = resources[id]?.Properties ?? {};
      return PathPart === undefined ? '' : `${pathOf(ParentId.Ref ?? '')}/${PathPart}`;
    };
    const routes = Object.values(template.findResources('AWS::ApiGateway::Method')).flatMap(({ Properties }) => {
      const [, program] = /SlipwayBuilds(\w+?)Function/.exec(JSON.stringify(Properties.Integration.Uri)) ?? [];
      return program === undefined ? [] : [`${Properties.HttpMethod} ${pathOf(Properties.ResourceId.Ref)} ${program}`];
    });
    expect(routes.sort()).toEqual([
      'DELETE /api/v1/{proxy+} Api',
      'GET /api/openapi.json Api',
      'GET /api/v1 Api',
      'GET /api/v1/{proxy+} Api',
      'POST /api/v1/jobs/{proxy+} Jobs',
      'POST /api/v1/{proxy+} Api',
      'PUT /api/v1/{proxy+} Api',
    ]);
  });

  test('answers a call without a token by the challenge that the front made for it, and asks about each call', () => {
    const code = readFileSync(join(import.meta.dirname, '../../infra/front-request.js'), 'utf8');
    const added = [...code.matchAll(/request\.headers\['([^']+)'\] =/g)].map(([, name]) => name as string);
    expect(added).toHaveLength(1);
    template.hasResourceProperties('AWS::ApiGateway::GatewayResponse', {
      ResponseType: 'UNAUTHORIZED',
      StatusCode: '401',
      // The exact spelling counts.
      ResponseParameters: { 'gatewayresponse.header.WWW-Authenticate': `method.request.header.${asCloudFrontSpells(added[0]!)}` },
    });
    template.hasResourceProperties('AWS::CloudFront::Distribution', {
      DistributionConfig: {
        DefaultCacheBehavior: Match.objectLike({ FunctionAssociations: [Match.objectLike({ EventType: 'viewer-request' })] }),
      },
    });
    template.hasResourceProperties('AWS::ApiGateway::GatewayResponse', {
      ResponseType: 'DEFAULT_4XX',
      StatusCode: Match.absent(),
      ResponseTemplates: { 'application/json': Match.stringLikeRegexp('no such path or method') },
    });
    const authorizers = Object.values(template.findResources('AWS::ApiGateway::Authorizer')).map((one) => one.Properties);
    expect(authorizers.map((one) => [one.Type, one.IdentitySource, one.AuthorizerResultTtlInSeconds])).toEqual([
      ['REQUEST', 'method.request.header.Authorization', 0],
    ]);
  });

  test('lets CloudFront keep no answer, errors included', () => {
    const [distribution] = Object.values(template.findResources('AWS::CloudFront::Distribution'));
    const { DefaultCacheBehavior, CustomErrorResponses } = distribution!.Properties.DistributionConfig;
    // The managed policy CachingDisabled, which does not speak of errors.
    expect(DefaultCacheBehavior.CachePolicyId).toBe('4135ea2d-6df8-44a3-9df3-4b5a84be39ad');
    // "HTTP 4xx and 5xx status codes that CloudFront always caches", for ten seconds unless it is told otherwise.
    for (const ErrorCode of [404, 414, 500, 501, 502, 503, 504])
      expect(CustomErrorResponses).toContainEqual({ ErrorCode, ErrorCachingMinTTL: 0 });
  });

  test('has metrics and a log of faults of its own, and the log goes when the stack goes', () => {
    const [id, api] = Object.entries(template.findResources('AWS::ApiGateway::RestApi'))[0]!;
    // Metrics go by it. The CDK’s own is the construct’s id, which the API of any other app may have.
    expect(api.Properties.Name).toMatch(/^test-Slipway/);
    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      MetricName: '5XXError',
      Dimensions: [{ Name: 'ApiName', Value: api.Properties.Name }],
    });
    // Those of each method are custom metrics by price.
    template.hasResourceProperties('AWS::ApiGateway::Stage', { MethodSettings: [Match.objectLike({ MetricsEnabled: false })] });
    // The name that API Gateway gives the log of a stage’s faults.
    const LogGroupName = { 'Fn::Join': ['', ['API-Gateway-Execution-Logs_', { Ref: id }, '/live']] };
    const groups = template.findResources('AWS::Logs::LogGroup', { Properties: { LogGroupName, RetentionInDays: 30 } });
    const [group] = Object.entries(groups);
    expect(group?.[1].DeletionPolicy).toBe('Delete');
    template.hasResource('AWS::ApiGateway::Stage', { DependsOn: Match.arrayWith([group![0]]) });
  });

  test('passes bytes as bytes, writes no bodies to its log, and says what to do with too large a push', () => {
    template.hasResourceProperties('AWS::ApiGateway::RestApi', {
      BinaryMediaTypes: ['*/*'],
      EndpointConfiguration: { Types: ['REGIONAL'] },
    });
    template.hasResourceProperties('AWS::ApiGateway::Stage', {
      StageName: 'live',
      AccessLogSetting: Match.objectLike({ Format: Match.not(Match.stringLikeRegexp('[Aa]uthorization')) }),
      MethodSettings: [Match.objectLike({ DataTraceEnabled: false, LoggingLevel: 'ERROR', ThrottlingRateLimit: 500 })],
    });
    expect(tooLarge).toBe(gateway.tooLarge);
    for (const type of ['REQUEST_TOO_LARGE', 'ACCESS_DENIED']) {
      template.hasResourceProperties('AWS::ApiGateway::GatewayResponse', {
        ResponseType: type,
        StatusCode: '413',
        ResponseTemplates: { 'application/json': Match.stringLikeRegexp('4 MiB') },
      });
    }
  });

  test('is deployed anew when one of its own answers changes', () => {
    const id = (one: Template) => Object.keys(one.findResources('AWS::ApiGateway::Deployment'))[0];
    // Its challenge is one for all.
    const other = Template.fromStack(made((stack) => ({ front: domain(stack) })).stack);
    expect(id(other)).not.toBe(id(template));
  });
});

describe('the front', () => {
  test('is CloudFront, which puts /v2/ at the root, keeps nothing and passes Authorization on', () => {
    template.hasResourceProperties('AWS::CloudFront::Distribution', {
      DistributionConfig: {
        DefaultCacheBehavior: Match.objectLike({
          ViewerProtocolPolicy: 'https-only',
          // Managed-CachingDisabled, Managed-AllViewerExceptHostHeader.
          CachePolicyId: '4135ea2d-6df8-44a3-9df3-4b5a84be39ad',
          OriginRequestPolicyId: 'b689b0a8-53d0-40ab-baf2-68738e2966ac',
        }),
        Origins: [
          Match.objectLike({
            OriginPath: '/live',
            CustomOriginConfig: Match.objectLike({ OriginProtocolPolicy: 'https-only', OriginSSLProtocols: ['TLSv1.2'] }),
          }),
        ],
      },
    });
  });

  test('is a domain of the team’s, and then the API has no other name', () => {
    const own = Template.fromStack(made((stack) => ({ front: domain(stack) })).stack);
    own.resourceCountIs('AWS::CloudFront::Distribution', 0);
    own.hasResourceProperties('AWS::ApiGateway::RestApi', { DisableExecuteApiEndpoint: true });
    own.hasResourceProperties('AWS::ApiGateway::DomainName', {
      DomainName: 'registry.example.com',
      SecurityPolicy: 'TLS_1_2',
      EndpointConfiguration: { Types: ['REGIONAL'] },
    });
    own.hasResourceProperties('AWS::ApiGateway::BasePathMapping', { BasePath: Match.absent() });
    own.hasResourceProperties('AWS::ApiGateway::GatewayResponse', {
      ResponseType: 'UNAUTHORIZED',
      ResponseParameters: {
        'gatewayresponse.header.WWW-Authenticate':
          '\'Bearer realm="https://registry.example.com/token",service="registry.example.com"\'',
      },
    });
  });
});

test('a transfer is started by the control API alone, and not again by itself', () => {
  const [name] = Object.keys(
    template.findResources('AWS::Lambda::Function', { Properties: { Description: Match.stringLikeRegexp('pulls images') } }),
  );
  template.hasResourceProperties('AWS::Lambda::EventInvokeConfig', {
    FunctionName: { Ref: name },
    MaximumRetryAttempts: 0,
    MaximumEventAgeInSeconds: 120,
  });
  // In milliseconds: whoever follows the transfer gives up only when Lambda has.
  expect(patience).toBeGreaterThan(120_000);
  template.hasResourceProperties('AWS::Lambda::Function', {
    Description: Match.stringLikeRegexp('control API'),
    Environment: { Variables: Match.objectLike({ SLIPWAY_TRANSFER_FUNCTION: { Ref: name } }) },
  });
  const invokers = Object.values(template.findResources('AWS::IAM::Policy'))
    .flatMap((policy) => policy.Properties.PolicyDocument.Statement as Statement[])
    .filter((one) => JSON.stringify(one.Resource).includes(`"${name}"`));
  expect(invokers).toEqual([
    { Sid: 'StartTransfers', Effect: 'Allow', Action: 'lambda:InvokeFunction', Resource: { 'Fn::GetAtt': [name, 'Arn'] } },
  ]);
});

test('alarms and one dashboard are there', () => {
  template.resourceCountIs('AWS::CloudWatch::Dashboard', 1);
  expect(Object.keys(template.findResources('AWS::CloudWatch::Alarm')).length).toBe(26);
});

describe('the upload host', () => {
  test('is a Web Function with the registry’s rights and no others, which the registry names in Locations', () => {
    const own = Template.fromStack(made(() => ({ uploadHost: 'web-function' })).stack);
    own.hasResourceProperties('AWS::Lambda::WebFunctionRevision', { ServiceConfig: Match.objectLike({ TimeoutSeconds: 900 }) });
    const policies = Object.entries(own.findResources('AWS::IAM::Policy')).filter(([name]) =>
      name.startsWith('SlipwayUploadHost'),
    );
    const statements = policies.flatMap(([, policy]) => policy.Properties.PolicyDocument.Statement as Statement[]);
    expect(statements.find(({ Sid }) => Sid === 'NoAccounts')).toMatchObject({
      Effect: 'Deny',
      Condition: { 'ForAnyValue:StringEquals': { 'dynamodb:LeadingKeys': [accountsPartition] } },
    });
    const registry = statementsOf(own, 'the registry');
    const allowed = (list: readonly Statement[]) => [...new Set(actionsOf(list).filter((action) => !action.startsWith('logs:')))];
    expect(allowed(statements)).toEqual(allowed(registry));
    own.hasResourceProperties('AWS::Lambda::Function', {
      Description: 'Slipway: the registry',
      Environment: { Variables: Match.objectLike({ SLIPWAY_UPLOAD_URL: Match.anyValue() }) },
    });
    template.resourceCountIs('AWS::Lambda::WebFunction', 0);
  });
});

describe('cdk-nag’s AwsSolutions', () => {
  /** Throws when a finding was not answered. */
  const check = (app: App): void => {
    Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
    app.synth();
  };

  test.each<[string, ((stack: Stack) => SlipwayProps) | undefined]>([
    ['as it is deployed', undefined],
    ['with a domain', (stack) => ({ front: domain(stack) })],
    ['with a key', (stack) => ({ encryptionKey: new Key(stack, 'Key', { enableKeyRotation: true }) })],
    ['without the role for logs', () => ({ accountLogRole: false })],
    ['with MicroVMs', () => ({ runners: { arm64: 'microvm' } })],
    ['without runners', () => ({ runners: { arm64: 'none', amd64: 'none' } })],
    ['with an upload host', () => ({ uploadHost: 'web-function' })],
    ['behind a proxy', () => ({ front: { kind: 'proxy', url: 'https://r.example' }, anonymousPull: ['public/**'] })],
  ])('finds nothing that was not answered: %s', async (_, props) => {
    await using folder = await tempFolder();
    check(made(props, folder.path).app);
  });

  test('would find something', async () => {
    await using folder = await tempFolder();
    const { app, stack } = made(undefined, folder.path);
    new Bucket(stack, 'Open');
    expect(() => check(app)).toThrow('AwsSolutions-S10');
  });
});
