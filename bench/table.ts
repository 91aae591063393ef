// Results as a Markdown table and as the JSON that is kept.
import type { Column, Scenario } from './scenarios.ts';

export interface Measured {
  /** Milliseconds of every run, in order. */
  readonly milliseconds: readonly number[];
  /** Bytes; see test/support/rss.ts. The command and all it starts, and the daemon where there is one. */
  readonly peak?: { readonly sum: number; readonly largest: number };
  readonly failed?: string;
}

export interface Row {
  readonly id: string;
  readonly title: string;
  readonly must: number;
  readonly excellent: number;
  readonly columns: Partial<Readonly<Record<Column, Measured>>>;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

const peers = ['classic', 'buildkit', 'buildah', 'podman', 'skopeo'] as const;

export const rowOf = (scenario: Scenario, columns: Row['columns']): Row => ({
  id: scenario.id,
  title: scenario.title,
  must: scenario.must,
  excellent: scenario.excellent,
  columns,
});

const good = (measured: Measured | undefined): measured is Measured =>
  measured !== undefined && measured.failed === undefined && measured.milliseconds.length > 0;

/** The best peer's median over ours turned round: our median / the best peer's. Undefined when either side is missing. */
export function ratioOf(row: Row): { readonly ratio: number; readonly best: Column } | undefined {
  const ours = row.columns.slipway;
  const ranked = peers
    .flatMap((name) => {
      const measured = row.columns[name];
      return good(measured) ? [{ name, ms: median(measured.milliseconds) }] : [];
    })
    .sort((a, b) => a.ms - b.ms);
  const best = ranked[0];
  if (best === undefined || !good(ours)) return undefined;
  return { ratio: median(ours.milliseconds) / best.ms, best: best.name };
}

/** Build and push together: the peers' builds do not compress, their pushes do; ours is the other way round. */
export function together(
  rows: readonly Row[],
  build: string,
  push: string,
  title: string,
  goals: [number, number],
): Row | undefined {
  const a = rows.find((row) => row.id === build);
  const b = rows.find((row) => row.id === push);
  if (a === undefined || b === undefined) return undefined;
  const columns: Partial<Record<Column, Measured>> = {};
  for (const name of ['slipway', ...peers] as const) {
    // dockerd has one push for both its builders.
    const [left, right] = [a.columns[name], b.columns[name === 'buildkit' ? 'classic' : name]];
    if (good(left) && good(right)) columns[name] = { milliseconds: [median(left.milliseconds) + median(right.milliseconds)] };
  }
  return { id: `${build} + ${push}`, title, must: goals[0], excellent: goals[1], columns };
}

function seconds(measured: Measured | undefined): string {
  if (measured === undefined) return '';
  if (measured.failed !== undefined) return 'failed';
  const value = median(measured.milliseconds) / 1000;
  return value < 1 ? value.toFixed(3).replace(/^0/, '') : value.toPrecision(3);
}

const megabytes = (measured: Measured | undefined) =>
  measured?.peak === undefined ? '' : `${Math.round(measured.peak.sum / 1e6)}`;

function verdict(row: Row): string {
  const found = ratioOf(row);
  if (found === undefined) return '';
  if (found.ratio <= row.excellent) return 'excellent';
  return found.ratio <= row.must ? 'met' : '**missed**';
}

export function markdown(rows: readonly Row[]): string {
  const head = [
    'scenario',
    'slipway',
    ...peers,
    'ratio',
    'must',
    'excellent',
    'goal',
    'MB slipway',
    ...peers.map((name) => `MB ${name}`),
  ];
  const lines = rows.map((row) => {
    const found = ratioOf(row);
    return [
      `${row.id} ${row.title}`,
      seconds(row.columns.slipway),
      ...peers.map((name) => seconds(row.columns[name])),
      found === undefined ? '' : found.ratio.toFixed(2),
      String(row.must),
      String(row.excellent),
      verdict(row),
      megabytes(row.columns.slipway),
      ...peers.map((name) => megabytes(row.columns[name])),
    ];
  });
  return [head, head.map(() => '---'), ...lines].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
