// That collecting is scheduled as asked, with no more rights than it takes.
import { App, Duration, Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { expect, test } from 'vitest';
import { Slipway, type SlipwayProps } from '../../infra/slipway.ts';

const templateOf = (props: SlipwayProps = {}): Template => {
  const app = new App({ context: { 'aws:cdk:bundling-stacks': [] } });
  const stack = new Stack(app, 'test');
  new Slipway(stack, 'Slipway', props);
  return Template.fromStack(stack);
};
const description = 'Slipway: takes away what nothing needs any more';

test('collects every day what was unused for 14', () => {
  const template = templateOf();
  template.hasResourceProperties('AWS::Lambda::Function', {
    Description: description,
    Timeout: 900,
    Environment: {
      Variables: Match.objectLike({
        SLIPWAY_COLLECT_AFTER_DAYS: '14',
        SLIPWAY_COLLECT_EVERY_DAYS: '1',
        SLIPWAY_BUCKET: Match.anyValue(),
      }),
    },
  });
  template.hasResourceProperties('AWS::Events::Rule', { ScheduleExpression: 'rate(1 hour)', State: 'ENABLED' });
  const [program] = Object.values(template.findResources('AWS::Lambda::Function', { Properties: { Description: description } }));
  const role = program!.Properties.Role['Fn::GetAtt'][0] as string;
  const statements = Object.values(template.findResources('AWS::IAM::Policy'))
    .filter((policy) => (policy.Properties.Roles as { Ref: string }[]).some(({ Ref }) => Ref === role))
    .flatMap((policy) => policy.Properties.PolicyDocument.Statement as { Sid?: string; Effect: string }[]);
  expect(statements.map(({ Sid, Effect }) => `${Effect} ${Sid ?? ''}`).sort()).toEqual([
    'Allow ',
    'Allow Objects',
    'Allow Records',
    'Allow TellMissing',
    'Deny NoAccounts',
  ]);
});

test('keeps to other times, refuses times that are too short, and can be switched off', () => {
  templateOf({ collection: { after: Duration.days(90), every: Duration.hours(12) } }).hasResourceProperties(
    'AWS::Lambda::Function',
    {
      Description: description,
      Environment: { Variables: Match.objectLike({ SLIPWAY_COLLECT_AFTER_DAYS: '90', SLIPWAY_COLLECT_EVERY_DAYS: '0.5' }) },
    },
  );
  expect(() => templateOf({ collection: { after: Duration.hours(23) } })).toThrow(/less than a day/);
  expect(() => templateOf({ collection: { every: Duration.minutes(5) } })).toThrow(/less than an hour/);
  expect(() => templateOf({ collection: { keepBuilds: Duration.days(6) } })).toThrow(/less than a week/);
  const without = templateOf({ collection: false });
  expect(without.findResources('AWS::Lambda::Function', { Properties: { Description: description } })).toEqual({});
  expect(without.toJSON().Outputs).not.toHaveProperty('CollectFunction');
});
