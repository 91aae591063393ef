// Writes the log of one source of a stored build: events are gathered for a moment and stored together, because each store is a
// transaction. A store that fails is tried again with the next; the same events twice do no harm.
import { type BuildEvent, eventLog, type StepLog } from './events.ts';

export interface LogWriterOptions {
  /** Stores events, `first` being how many of the source went before. `closed`: nobody wants them any more. */
  readonly append: (first: number, events: readonly BuildEvent[]) => Promise<{ readonly closed: boolean }>;
  /** How many events of the source are stored already. */
  readonly first?: number;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Milliseconds for which events are gathered. */
  readonly gather?: number;
}

/** UTF-16 units of output in one event: six times as many bytes of JSON at the worst, which fits a batch. */
const piece = 32 * 1024;
/** Units that may wait before a writer has to. */
const room = 512 * 1024;
/** Events in one call, and about as many units: several calls fit a request of the API, whatever JSON makes of them. */
const batch = 2000;
const batchUnits = 128 * 1024;

const sizeOf = (event: BuildEvent): number => (event.type === 'log' || event.type === 'note' ? event.text.length : 0) + 100;

/** `text` in pieces that no character is cut apart by. */
function* pieces(text: string): Generator<string> {
  for (let at = 0; at < text.length; ) {
    let end = Math.min(text.length, at + piece);
    const last = text.charCodeAt(end - 1);
    if (end < text.length && last >= 0xd800 && last < 0xdc00) end -= 1;
    yield text.slice(at, end);
    at = end;
  }
}

export class LogWriter implements AsyncDisposable {
  /** For the parts of a build that write a log. */
  readonly log: StepLog;
  readonly #options: LogWriterOptions;
  #waiting: BuildEvent[] = [];
  #size = 0;
  #first: number;
  #closed = false;
  #timer: NodeJS.Timeout | undefined;
  #storing: Promise<void> | undefined;

  constructor(options: LogWriterOptions) {
    this.#options = options;
    this.#first = options.first ?? 0;
    this.log = eventLog((event) => this.emit(event), options.clock);
  }

  /** The build has ended, or another attempt has taken over: nothing more is stored. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Events of the source that are stored. */
  get stored(): number {
    return this.#first;
  }

  /** Resolves when there is room for more. */
  emit(event: BuildEvent): void | Promise<void> {
    if (this.#closed) return;
    if (event.type === 'log' && event.text.length > piece) {
      for (const text of pieces(event.text)) this.#add({ ...event, text });
    } else if (event.type === 'failed' && event.message.length > piece) {
      this.#add({ ...event, message: `${event.message.slice(0, piece).toWellFormed()}...` });
    } else {
      this.#add(event);
    }
    if (this.#size < room) {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        this.flush().catch(() => undefined);
      }, this.#options.gather ?? 300);
      return;
    }
    // Never rejects: most events are told without waiting. What could not be stored is kept, and the next flush tells.
    return this.flush().catch(() => undefined);
  }

  #add(event: BuildEvent): void {
    this.#waiting.push(event);
    this.#size += sizeOf(event);
  }

  /** Resolves when everything told before is stored. */
  async flush(): Promise<void> {
    while (this.#storing !== undefined) await this.#storing.catch(() => undefined);
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#storing = this.#store().finally(() => {
      this.#storing = undefined;
    });
    await this.#storing;
  }

  async #store(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#closed) {
      let count = 0;
      let units = 0;
      while (count < Math.min(batch, this.#waiting.length) && units < batchUnits)
        units += sizeOf(this.#waiting[count++] as BuildEvent);
      const some = this.#waiting.slice(0, count);
      const { closed } = await this.#options.append(this.#first, some);
      this.#first += some.length;
      this.#waiting = this.#waiting.slice(some.length);
      this.#size -= units;
      this.#closed = closed;
    }
    if (this.#closed) {
      this.#waiting = [];
      this.#size = 0;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush();
  }
}
