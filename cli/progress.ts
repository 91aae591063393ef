// Shows a build while it runs, in BuildKit's forms: `plain` (a log anyone can grep), `tty` (a display that is redrawn), `rawjson` (the
// events), `quiet` (nothing but failures).
import type { BuildEvent } from '../shared/build/events.ts';
import { type Io, isTerminal, write } from './io.ts';
import { visible } from './visible.ts';

export interface Progress {
  show(event: BuildEvent): Promise<void> | void;
  /** The display is left as it is; nothing more is drawn. */
  end(): Promise<void>;
}

export type ProgressKind = 'plain' | 'tty' | 'rawjson' | 'quiet';

export const progressKinds = ['auto', 'plain', 'tty', 'rawjson', 'quiet'] as const;

export function progress(kind: ProgressKind, io: Io): Progress {
  switch (kind) {
    case 'plain':
      return plain(io);
    case 'tty':
      return display(io);
    case 'rawjson':
      return { show: (event) => write(io.stderr, `${JSON.stringify(event)}\n`), end: async () => undefined };
    case 'quiet':
      return quiet(io);
  }
}

/** The display redraws its lines where they were: they have to fit. A terminal that does not know its size says 0. */
const smallest = { columns: 40, rows: 10 };
const fits = (stream: { readonly columns?: number; readonly rows?: number }): boolean =>
  (['columns', 'rows'] as const).every((side) => !stream[side] || stream[side] >= smallest[side]);

/** `auto` is the display on a terminal with room for it, and the log elsewhere; BUILDKIT_PROGRESS is honoured as docker does. */
export function chooseProgress(asked: string | undefined, isQuiet: boolean, io: Io): ProgressKind | undefined {
  const word = isQuiet ? 'quiet' : (asked ?? io.env.BUILDKIT_PROGRESS ?? 'auto');
  if (word === 'auto') return isTerminal(io.stderr) && fits(io.stderr as NodeJS.WriteStream) ? 'tty' : 'plain';
  return progressKinds.find((k): k is ProgressKind => k === word && k !== 'auto');
}

const seconds = (ms: number): string => (ms / 1000).toFixed(1);

interface Shown {
  readonly name: string;
  readonly started: number;
  ended?: number;
  cached?: boolean;
  failed?: string;
  cancelled?: boolean;
  /** The last lines of output. */
  tail: string[];
  partial: Partial<Record<'stdout' | 'stderr', string>>;
  notes: string[];
}

const maxLine = 64 * 1024;

/** Cuts a step's output into lines per stream; an unfinished line waits for its end. */
function linesOf(step: Shown, stream: 'stdout' | 'stderr', text: string): string[] {
  const lines = text.split('\n');
  lines[0] = (step.partial[stream] ?? '') + lines[0];
  let partial = lines.pop() ?? '';
  // What a later \r has overwritten is not kept; a line without end is cut, or it would grow for ever.
  partial = partial.slice(partial.lastIndexOf('\r', partial.length - 2) + 1);
  if (partial.length > maxLine) {
    lines.push(partial);
    partial = '';
  }
  step.partial[stream] = partial;
  // A progress bar rewrites its line with \r: the last state is the line.
  return lines.map((line) => line.replace(/\r$/, '').split('\r').at(-1) ?? '');
}

const rest = (step: Shown): string[] =>
  (['stdout', 'stderr'] as const).map((s) => step.partial[s] ?? '').filter((text) => text !== '');

function keepTail(step: Shown, lines: readonly string[]): void {
  if (lines.length > 0) step.tail = [...step.tail, ...lines.slice(-40)].slice(-40);
}

function track(steps: Map<number, Shown>, event: BuildEvent): string[] {
  if (event.type === 'started')
    steps.set(event.id, { name: visible(event.name), started: event.at, tail: [], partial: {}, notes: [] });
  if (!('id' in event)) return [];
  const step = steps.get(event.id);
  if (step === undefined) return [];
  if (event.type === 'note') step.notes.push(event.text);
  if (event.type === 'log') {
    const lines = linesOf(step, event.stream, event.text);
    keepTail(step, lines);
    return lines;
  }
  if (event.type === 'done' || event.type === 'failed' || event.type === 'cancelled') {
    step.ended = event.at;
    if (event.type === 'cancelled') step.cancelled = true;
    if (event.type === 'done' && event.cached) step.cached = true;
    if (event.type === 'failed') step.failed = event.message;
    const left = rest(step);
    keepTail(step, left);
    return left;
  }
  return [];
}

/** What the failed step said, repeated at the end where it is seen. */
function failure(steps: Map<number, Shown>): string {
  const failed = [...steps.values()].find((s) => s.failed !== undefined);
  if (failed === undefined) return '';
  return `------\n > ${failed.name}:\n${failed.tail.map((line) => `${line}\n`).join('')}------\n`;
}

function warningText(event: Extract<BuildEvent, { type: 'warning' }>): string {
  const { rule, message, where, url } = event.warning;
  return ` - ${rule}: ${message} (line ${where.start.line})${url === '' ? '' : `\n   ${url}`}\n`;
}

function plain(io: Io): Progress {
  const steps = new Map<number, Shown>();
  const warnings: string[] = [];
  return {
    async show(event) {
      const lines = track(steps, event);
      const out: string[] = [];
      if (event.type === 'started') out.push(`#${event.id} ${visible(event.name)}`);
      if ('id' in event) {
        const step = steps.get(event.id);
        const age = step === undefined ? 0 : event.type === 'started' ? 0 : event.at - step.started;
        for (const line of lines) out.push(`#${event.id} ${(age / 1000).toFixed(3)} ${line}`);
        if (event.type === 'note') out.push(`#${event.id} ${event.text}`);
        if (event.type === 'done') out.push(event.cached ? `#${event.id} CACHED\n` : `#${event.id} DONE ${seconds(age)}s\n`);
        if (event.type === 'failed') out.push(`#${event.id} ERROR: ${event.message}\n`);
        if (event.type === 'cancelled') out.push(`#${event.id} CANCELED\n`);
      }
      if (event.type === 'warning') warnings.push(warningText(event));
      if (event.type === 'error' && event.failure.code !== 'CANCELLED') out.push(failure(steps).trimEnd());
      if (event.type === 'result' && warnings.length > 0) {
        out.push(` ${warnings.length} warning${warnings.length === 1 ? '' : 's'} found:`, warnings.join('').trimEnd());
      }
      const said = out.filter((line) => line !== '');
      if (said.length > 0) await write(io.stderr, `${said.join('\n')}\n`);
    },
    end: async () => undefined,
  };
}

function quiet(io: Io): Progress {
  const steps = new Map<number, Shown>();
  return {
    async show(event) {
      track(steps, event);
      if (event.type === 'error' && event.failure.code !== 'CANCELLED') await write(io.stderr, failure(steps));
    },
    end: async () => undefined,
  };
}

/** Redraws at most ten times a second, and only the part of the list that fits the terminal. */
function display(io: Io): Progress {
  const steps = new Map<number, Shown>();
  const warnings: string[] = [];
  let drawn = 0;
  let first: number | undefined;
  let latest = 0;
  let timer: NodeJS.Timeout | undefined;
  let finished = false;

  const size = () => {
    const stream = io.stderr as { columns?: number; rows?: number };
    return { columns: Math.max(smallest.columns, stream.columns || 80), rows: Math.max(smallest.rows, stream.rows || 24) };
  };

  const draw = (): string => {
    const { columns, rows } = size();
    const all = [...steps.values()];
    const now = finished ? latest : Math.max(latest, io.now());
    const done = all.filter((s) => s.ended !== undefined).length;
    const lines: string[] = [];
    for (const step of all) {
      const time = `${seconds((step.ended ?? now) - step.started)}s`;
      const mark = step.failed !== undefined ? 'ERROR ' : step.cancelled ? 'CANCELED ' : step.cached ? 'CACHED ' : '';
      const width = columns - time.length - 5;
      const text = `${mark}${step.name}`;
      lines.push(` => ${text.length > width ? `${text.slice(0, width - 3)}...` : text.padEnd(width)} ${time}`);
      // When all is over, and drawn for the last time: what was read, the ID of the image and its names, whole.
      if (finished) for (const note of step.notes) lines.push(` => => ${visible(note)}`);
      if (step.ended === undefined)
        for (const line of step.tail.slice(-6)) lines.push(` => => # ${visible(line.slice(0, 1000)).slice(0, columns - 12)}`);
    }
    const room = rows - 2;
    const shown = finished ? lines : lines.slice(-room);
    const head = `[+] Building ${seconds(now - (first ?? now))}s (${done}/${all.length})${finished ? ' FINISHED' : ''}`;
    const up = drawn > 0 ? `\x1b[${drawn}A` : '';
    drawn = shown.length + 1;
    // Line over line, then what is left below: clearing all first flickers, and some terminals keep what is cleared in their history.
    return `${up}${[head, ...shown].map((line) => `${line}\x1b[K\n`).join('')}\x1b[0J`;
  };

  const schedule = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      if (finished) return;
      io.stderr.write(draw());
      if ([...steps.values()].some((s) => s.ended === undefined)) schedule();
    }, 100);
  };

  return {
    async show(event) {
      track(steps, event);
      if ('at' in event) {
        first ??= event.at;
        latest = event.at;
      }
      if (event.type === 'warning') warnings.push(warningText(event));
      if (event.type === 'result' || event.type === 'error') {
        finished = true;
        clearTimeout(timer);
        await write(io.stderr, draw());
        if (event.type === 'error' && event.failure.code !== 'CANCELLED') await write(io.stderr, failure(steps));
        if (event.type === 'result' && warnings.length > 0) {
          await write(io.stderr, `\n ${warnings.length} warning${warnings.length === 1 ? '' : 's'} found:\n${warnings.join('')}`);
        }
        return;
      }
      schedule();
    },
    async end() {
      finished = true;
      clearTimeout(timer);
    },
  };
}
