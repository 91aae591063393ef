// Contexts that came as an archive, on standard input: kept beside the home until the command ends.
import { randomUUID } from 'node:crypto';
import { emptySource } from '../shared/build/copy-source.ts';
import type { ContextSource, ScratchFolder } from '../shared/build/ports.ts';
import type { ContextService, ReceivedContext, ReceiveOptions } from '../shared/build/service.ts';
import { receiveContext } from '../shared/context/from-archive.ts';
import { Context } from '../shared/context/list.ts';
import { SlipwayError } from '../shared/errors.ts';
import type { Bytes } from '../shared/store/blobs.ts';

export class ReceivedContexts implements ContextService, AsyncDisposable {
  readonly #scratch: () => Promise<ScratchFolder>;
  readonly #sources = new Map<string, ContextSource>();
  readonly #folders: ScratchFolder[] = [];

  constructor(scratch: () => Promise<ScratchFolder>) {
    this.#scratch = scratch;
  }

  async receive(body: Bytes, { dockerfile, signal }: ReceiveOptions): Promise<ReceivedContext> {
    const scratch = await this.#scratch();
    this.#folders.push(scratch);
    const name = dockerfile ?? 'Dockerfile';
    const received = await receiveContext(body, {
      scratch: scratch.path,
      dockerfile: name,
      ...(signal === undefined ? {} : { signal }),
    });
    // Not to be guessed: whoever names it can build from it.
    const id = `archive-${randomUUID()}`;
    if (received.kind === 'dockerfile') {
      if (dockerfile !== undefined) {
        throw new SlipwayError('USAGE', 'standard input is a Dockerfile, and -f names another', {
          hint: 'with a Dockerfile on standard input there is no context; leave -f out',
        });
      }
      this.#sources.set(id, { ...emptySource, list: Context.empty });
      return { id, dockerfile: { name: 'Dockerfile', text: received.text } };
    }
    // docker tries the lower-case name as well.
    const text = (await received.read(name)) ?? (dockerfile === undefined ? await received.read('dockerfile') : undefined);
    if (text === undefined) {
      throw new SlipwayError('DOCKERFILE', `failed to read dockerfile: open ${name}: no such file or directory`, {
        hint: 'the path is looked up in the archive; name another with -f',
      });
    }
    const { context, bodies } = received;
    this.#sources.set(id, { list: context, body: (entry) => bodies.body(entry), scope: 'archive' });
    return { id, dockerfile: { name, text: Buffer.from(text).toString('utf8') } };
  }

  get(id: string): ContextSource {
    const source = this.#sources.get(id);
    if (source === undefined) throw new SlipwayError('NOT_FOUND', `there is no context ${id}`);
    return source;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const folder of this.#folders) await folder[Symbol.asyncDispose]();
  }
}
