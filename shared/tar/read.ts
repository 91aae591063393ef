// A tar as a pulled stream of members.
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Entry } from '../layer/entry.ts';
import type { Bytes } from '../store/blobs.ts';
import { type TarOptions, TarParser } from './parse.ts';

export interface TarMember {
  readonly entry: Entry;
  /**
   * The content: exactly `entry.size` bytes, to be read before the next member is asked for; what is left is skipped then. Slices are
   * views of the source's chunks and may be kept.
   */
  readonly body: Bytes;
}

type Event = { readonly entry: Entry } | { readonly data: Uint8Array } | 'end';

/**
 * The members of an uncompressed tar, in order. Memory: the source's chunk in hand. Leaving early closes the source; at the end all of it
 * has been read, so a verifying source has verified.
 */
export async function* readTar(
  source: Bytes,
  options: TarOptions & { readonly signal?: AbortSignal } = {},
): AsyncGenerator<TarMember, void, undefined> {
  const events: Event[] = [];
  let next = 0;
  const parser = new TarParser(
    {
      entry: (entry) => void events.push({ entry }),
      data: (data) => void events.push({ data }),
      end: () => void events.push('end'),
    },
    options,
  );
  const iterator = source[Symbol.asyncIterator]();
  const take = async (): Promise<Event | undefined> => {
    while (next === events.length) {
      events.length = 0;
      next = 0;
      throwIfCancelled(options.signal);
      const { done, value } = await iterator.next();
      if (done) {
        parser.finish();
        return undefined;
      }
      parser.write(value);
    }
    return events[next++];
  };
  async function* body(state: { open: boolean }) {
    while (state.open) {
      const event = await take();
      if (event === undefined || event === 'end' || 'entry' in event) {
        state.open = false;
        return;
      }
      yield event.data;
    }
  }
  try {
    for (;;) {
      const event = await take();
      if (event === undefined) return;
      if (event === 'end' || !('entry' in event)) throw new SlipwayError('INTERNAL', 'tar events are out of order');
      const state = { open: event.entry.size > 0 };
      yield { entry: event.entry, body: body(state) };
      while (state.open) {
        const skipped = await take();
        if (skipped === undefined || skipped === 'end') state.open = false;
      }
    }
  } finally {
    await iterator.return?.();
  }
}
