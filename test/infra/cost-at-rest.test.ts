// What docs/account.md says an account costs at rest, against what is deployed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { expect, test } from 'vitest';
import { Slipway } from '../../infra/slipway.ts';

test('the things that are paid for by the month are those that the page counts', () => {
  const stack = new Stack(new App({ context: { 'aws:cdk:bundling-stacks': [] } }), 'test', {
    env: { region: 'us-east-1', account: '123456789012' },
  });
  new Slipway(stack, 'Slipway');
  const template = Template.fromStack(stack);
  const count = (type: string): number => Object.keys(template.findResources(type)).length;
  const page = readFileSync(join(import.meta.dirname, '../../docs/account.md'), 'utf8');
  expect(page).toContain(`| ${count('AWS::CloudWatch::Alarm')} alarms, one dashboard |`);
  expect(count('AWS::CloudWatch::Dashboard')).toBe(1);
  expect(count('AWS::SecretsManager::Secret')).toBe(1);
  // Nothing that is billed by the hour, used or not.
  const types = Object.values(template.toJSON().Resources as Record<string, { readonly Type: string }>).map(({ Type }) => Type);
  const idle =
    /^AWS::(EC2|ECS|EKS|RDS|ElastiCache|ElasticLoadBalancing|OpenSearch|EFS|FSx)|ProvisionedConcurrency|Fleet|KMS::Key/;
  expect(types.filter((type) => idle.test(type))).toEqual([]);
});
