// A pull or push in docker's lines: one line per change of a layer; on a terminal the lines are redrawn in place with their progress.
import { shortDigest, type TransferEvent } from '../shared/client/transfer-events.ts';
import { type Io, isTerminal, write } from './io.ts';

type LayerEvent = Extract<TransferEvent, { kind: 'layer' }>;

export interface TransferLines {
  show(event: TransferEvent): Promise<void>;
}

/** 12.3MB: powers of ten, as docker shows transfers. */
export function decimalSize(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${Number(value.toPrecision(4))}${units[unit]}`;
}

function bar(current: number, total: number): string {
  const done = total === 0 ? 50 : Math.min(50, Math.floor((current / total) * 50));
  return `[${'='.repeat(Math.max(0, done - 1))}>${' '.repeat(50 - Math.max(1, done))}]`;
}

function text(event: LayerEvent, live: boolean): string | undefined {
  const head = `${shortDigest(event.digest)}: ${event.state}`;
  if (event.from !== undefined) return `${head} ${event.from}`;
  if (event.current === undefined || event.total === undefined) return head;
  // A log has no use for progress, as docker's has not.
  return live
    ? `${head}  ${bar(event.current, event.total)}  ${decimalSize(event.current)}/${decimalSize(event.total)}`
    : undefined;
}

export function transferLines(io: Io): TransferLines {
  const { stdout } = io;
  const live = isTerminal(stdout);
  const width = live && 'columns' in stdout && typeof stdout.columns === 'number' && stdout.columns > 20 ? stdout.columns : 80;
  /** Layers drawn since the last plain line, top first. */
  let drawn: string[] = [];
  const layer = async (event: LayerEvent): Promise<void> => {
    const line = text(event, live);
    if (line === undefined) return;
    if (!live) {
      await write(stdout, `${line}\n`);
      return;
    }
    const key = shortDigest(event.digest);
    const at = drawn.indexOf(key);
    const cut = line.slice(0, width - 1);
    if (at < 0) {
      drawn.push(key);
      await write(stdout, `${cut}\n`);
    } else {
      const up = drawn.length - at;
      await write(stdout, `\u001b[${up}A\r\u001b[K${cut}\r\u001b[${up}B`);
    }
  };
  return {
    async show(event) {
      if (event.kind === 'layer') return layer(event);
      const line = plainLine(event);
      if (line === undefined) return;
      drawn = [];
      await write(stdout, `${line}\n`);
    },
  };
}

function plainLine(event: Exclude<TransferEvent, LayerEvent>): string | undefined {
  switch (event.kind) {
    case 'pulling':
      return `${event.reference}: Pulling from ${event.path}`;
    case 'pushing':
      return `The push refers to repository [${event.repository}]`;
    case 'pulled':
      return `Digest: ${event.digest}`;
    case 'pushed':
      return `${event.tag}: digest: ${event.digest} size: ${event.size}`;
    case 'done':
      return undefined;
  }
}
