// An archive as a context that a project keeps: unpacked as it comes, whatever its size, into the contents and the list that a client
// would have sent.
import { type ArchiveObjects, archiveKey } from '../context/archive-object.ts';
import { ContextStore } from '../context/context-store.ts';
import { receiveContext } from '../context/from-archive.ts';
import { Context } from '../context/list.ts';
import { PackSink } from '../context/pack-sink.ts';
import { checkProject, defaultProject } from '../context/project.ts';
import { SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { Blobs, Bytes } from '../store/blobs.ts';
import type { Table } from '../store/table.ts';
import type { BuildRequest } from './request.ts';
import type { ContextService, ReceivedContext, ReceiveOptions } from './service.ts';

interface Parts {
  readonly blobs: Blobs;
  readonly table: Table;
}

interface Kept {
  readonly id: Digest;
  readonly project: string;
  readonly files: number;
  readonly dockerfile: { readonly name: string; readonly text: string };
  /** The archive was a lone Dockerfile. */
  readonly lone: boolean;
}

/** Archives that come through the API of a home that keeps contexts. */
export class StoredArchives implements ContextService {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async receive(body: Bytes, { dockerfile, project = defaultProject, signal }: ReceiveOptions): Promise<ReceivedContext> {
    const kept = await keepArchive(this.#parts, body, { project, name: dockerfile, what: 'the build context', signal });
    if (kept.lone && dockerfile !== undefined) {
      throw new SlipwayError('USAGE', 'the body is a Dockerfile, and `dockerfile` names another', {
        hint: 'With a Dockerfile for a body there is no context; leave `dockerfile` out.',
      });
    }
    return { id: kept.id, project, dockerfile: kept.dockerfile };
  }
}

/**
 * The request with its archive unpacked: a stored context, and the archive's Dockerfile where the request brings none.
 * @throws NOT_FOUND, and all that archiveKey and receiveContext throw
 */
export async function unpackArchive(
  request: BuildRequest,
  { archives, signal, ...parts }: Parts & { readonly archives: ArchiveObjects; readonly signal: AbortSignal },
): Promise<{ readonly request: BuildRequest; readonly bytes: number; readonly files: number }> {
  const { context, dockerfile } = request;
  if (context.kind !== 'archive') throw new SlipwayError('INTERNAL', 'the request names no archive');
  const { project = defaultProject, url } = context;
  const object = await archives.open(archiveKey(url, archives.bucket, project), { signal });
  if (object === undefined) throw noArchive(url);
  // Read from here, whichever it is, when the request has text of its own.
  const own = dockerfile.text !== '';
  const name = own ? undefined : dockerfile.name;
  const kept = await keepArchive(parts, object.body, { project, name, what: url, own, signal });
  return {
    request: {
      ...request,
      context: { kind: 'stored', id: kept.id, project },
      dockerfile: own ? dockerfile : kept.dockerfile,
    },
    bytes: object.size,
    files: kept.files,
  };
}

export const noArchive = (url: string): SlipwayError =>
  new SlipwayError('NOT_FOUND', `there is no object ${url}`, { hint: `Put it there first: aws s3 cp ctx.tar.gz ${url}` });

interface KeepOptions {
  readonly project: string;
  /** The Dockerfile's path in the archive; the usual ones without it. */
  readonly name: string | undefined;
  readonly what: string;
  /** A Dockerfile in the archive is of no interest. */
  readonly own?: boolean;
  readonly signal: AbortSignal | undefined;
}

async function keepArchive({ blobs, table }: Parts, body: Bytes, options: KeepOptions): Promise<Kept> {
  const { what, own = false } = options;
  const project = checkProject(options.project);
  const abort = options.signal === undefined ? {} : { signal: options.signal };
  const store = new ContextStore({ blobs, table, project });
  const name = options.name ?? 'Dockerfile';
  const sink = new PackSink({ store, blobs }, abort);
  const received = await receiveContext(body, { scratch: sink, dockerfile: name, what, ...abort });
  if (received.kind === 'dockerfile') {
    const id = await store.saveList(Context.empty, { ...abort, complete: true });
    return { id, project, files: 0, dockerfile: { name: 'Dockerfile', text: received.text }, lone: true };
  }
  const usual = name === 'Dockerfile' ? await received.read('dockerfile') : undefined;
  const text = own ? Buffer.alloc(0) : ((await received.read(name)) ?? usual);
  if (text === undefined) {
    throw new SlipwayError('DOCKERFILE', `failed to read dockerfile: open ${name}: no such file or directory`, {
      hint: `It is looked for in ${what}; name another with -f, or as the request's dockerfile.name.`,
    });
  }
  const id = await store.saveList(received.context, { ...abort, complete: true });
  return {
    id,
    project,
    files: received.context.entries.length,
    dockerfile: { name, text: Buffer.from(text).toString('utf8') },
    lone: false,
  };
}
