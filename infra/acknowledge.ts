// Answers to cdk-nag about rights on a resource that has a wildcard in it: each by itself, with its reason.
import { Stack, Validations } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';

/** `resource`: as the policy names it. */
export function acknowledgeWildcard(scope: IConstruct, resource: string, reason: string): void {
  Validations.of(scope).acknowledge({ id: `AwsSolutions-IAM5[Resource::${shown(Stack.of(scope).resolve(resource))}]`, reason });
}

/** A resource in cdk-nag's spelling: `<Name>` and `<Name.Attribute>` for what CloudFormation fills in. */
function shown(value: unknown): string {
  if (typeof value === 'string') return value;
  const { Ref, 'Fn::GetAtt': attribute, 'Fn::Join': join } = value as Readonly<Record<string, unknown>>;
  if (typeof Ref === 'string') return `<${Ref}>`;
  if (Array.isArray(attribute)) return `<${attribute.join('.')}>`;
  if (Array.isArray(join)) return (join[1] as unknown[]).map(shown).join(String(join[0]));
  return JSON.stringify(value);
}
