// What a RUN step prints, on its way into the build's log. A log is for people: after the first megabytes the middle is left out, but
// never the end, which is where a failure says what it is. A flood then costs neither memory nor time.
import type { StepReport } from './events.ts';

type Stream = 'stdout' | 'stderr';

export interface OutputLimits {
  /** Bytes passed on as they come. */
  readonly head: number;
  /** Bytes of the end that are kept when there is more. */
  readonly tail: number;
}

export const outputLimits: OutputLimits = { head: 8 * 1024 * 1024, tail: 64 * 1024 };

export class StepOutput {
  readonly #report: Pick<StepReport, 'output'>;
  readonly #limits: OutputLimits;
  readonly #decoders = new Map<Stream, InstanceType<typeof TextDecoder>>();
  #seen = 0;
  #clipping = false;
  #tail: { readonly stream: Stream; readonly chunk: Uint8Array }[] = [];
  #tailSize = 0;
  #leftOut = 0;

  constructor(report: Pick<StepReport, 'output'>, limits: OutputLimits = outputLimits) {
    this.#report = report;
    this.#limits = limits;
  }

  /** Resolves when there is room for more. Keeps no reference to `chunk`. */
  write(stream: Stream, chunk: Uint8Array): void | Promise<void> {
    const room = this.#limits.head - this.#seen;
    this.#seen += chunk.length;
    if (chunk.length <= room) return this.#pass(stream, chunk);
    if (room > 0) {
      this.#keep(stream, chunk.subarray(room));
      return this.#pass(stream, chunk.subarray(0, room));
    }
    this.#keep(stream, chunk);
  }

  /** The step has ended: what is still held is passed on. */
  async end(): Promise<void> {
    if (this.#clipping) {
      const note = `[output clipped, log limit ${sizeText(this.#limits.head)} reached: ${this.#leftOut} bytes left out here]`;
      if (this.#leftOut > 0) await this.#report.output('stderr', `\n${note}\n`);
      for (const { stream, chunk } of this.#tail) await this.#pass(stream, chunk);
    }
    for (const [stream, decoder] of this.#decoders) {
      const rest = decoder.decode();
      if (rest !== '') await this.#report.output(stream, rest);
    }
  }

  #pass(stream: Stream, chunk: Uint8Array): void | Promise<void> {
    let decoder = this.#decoders.get(stream);
    if (decoder === undefined) {
      decoder = new TextDecoder();
      this.#decoders.set(stream, decoder);
    }
    const text = decoder.decode(chunk, { stream: true });
    if (text !== '') return this.#report.output(stream, text);
  }

  #keep(stream: Stream, chunk: Uint8Array): void {
    this.#clipping = true;
    const { tail } = this.#limits;
    const end = Buffer.from(chunk.length > tail ? chunk.subarray(-tail) : chunk);
    this.#leftOut += chunk.length - end.length;
    this.#tail.push({ stream, chunk: end });
    this.#tailSize += end.length;
    // Whole chunks, so up to one more than the limit is kept.
    for (let first = this.#tail[0]; first !== undefined && this.#tailSize - first.chunk.length >= tail; first = this.#tail[0]) {
      this.#tail.shift();
      this.#tailSize -= first.chunk.length;
      this.#leftOut += first.chunk.length;
    }
  }
}

const sizeText = (bytes: number): string => (bytes % 1048576 === 0 ? `${bytes / 1048576}MiB` : `${bytes}B`);
