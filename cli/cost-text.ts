// What a build cost, for people: one line, in the manner of what docker prints at the end.
import type { BuildFacts } from '../shared/api/builds.ts';
import { dollars } from '../shared/cost/dollars.ts';
import { humanSize } from './human.ts';

const one = (amount: number): string => (amount < 10 ? String(Math.round(amount * 10) / 10) : String(Math.round(amount)));

const mibMsPerGbSecond = 1_024_000;

/** `cost  $0.00062 estimated (prices of 2026-11-23, us-east-1)  lambda 3.1 GB-s, ...`; undefined where nothing is charged for. */
export function costLine({ usage = {}, cost }: Pick<BuildFacts, 'usage' | 'cost'>): string | undefined {
  if (cost === undefined) return undefined;
  const of = (name: string): number => usage[name] ?? 0;
  const sum = (pattern: RegExp): number =>
    Object.entries(usage).reduce((total, [name, amount]) => total + (pattern.test(name) ? amount : 0), 0);
  const s3 = sum(/^s3(Reads|Writes|Frees)$/);
  const minutes = sum(/^codebuild\w+Minutes$/);
  const seconds = of('runnerMs') / 1000;
  const parts = [
    `lambda ${one(sum(/^lambda\w+MibMs$/) / mibMsPerGbSecond)} GB-s`,
    ...(seconds === 0 ? [] : [minutes === 0 ? `vm ${one(seconds)} s` : `codebuild ${minutes} min`]),
    `s3 ${s3} ${s3 === 1 ? 'request' : 'requests'} ${humanSize(of('s3BytesIn') + of('s3BytesOut'))}`,
    `dynamodb ${of('dynamodbRequests')}`,
  ];
  const { date, region } = cost.prices;
  const where = cost.region === undefined ? '' : `; built in ${cost.region}`;
  const unpriced = new Set(cost.unpriced.map((name) => (name.startsWith('microvmBurst') ? 'vm burst' : name)));
  const without = unpriced.size === 0 ? '' : `, not priced: ${[...unpriced].join(', ')}`;
  return `cost  ${dollars(cost.nanoDollars)} estimated (prices of ${date}, ${region}${where}${without})  ${parts.join(', ')}`;
}
