// Sends a build's context to a home elsewhere: the list of its files first, then only the contents that this project has never seen, in
// packs, several at a time, straight to the store where it gives URLs.

import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import type { DirectUpload } from '../shared/api/blobs.ts';
import { type AdoptRequest, type ContextFacts, listType, type OfferedContext, packType } from '../shared/api/contexts.ts';
import type { Bodies } from '../shared/context/bodies.ts';
import type { Context } from '../shared/context/list.ts';
import { type Parcel, packBodies } from '../shared/context/pack.ts';
import { isCode, SlipwayError } from '../shared/errors.ts';
import { type Digest, sha256 } from '../shared/oci/digest.ts';
import { type Api, query } from './api-client.ts';
import type { Remote } from './remote.ts';

export interface Sent {
  readonly id: string;
  readonly project: string;
  /** Contents that travelled, and bytes in them. */
  readonly bodies: number;
  readonly bytes: number;
}

/** Parcels on their way at once: each holds up to 12 MB. */
const width = 4;
/** Bytes of a list, unpacked, that fit into a few packets. */
const shortList = 4 * 1024;
/** Bytes of a list that every gateway takes as one request. */
const smallList = 4 << 20;
/** How often the same content may be asked for: a lost answer costs one more. */
const patience = 3;

export async function sendContext(
  client: Api,
  remote: Remote,
  { context, bodies }: { readonly context: Context; readonly bodies: Bodies },
  signal: AbortSignal,
): Promise<Sent> {
  const { project } = remote.endpoint;
  const sender = new Sender(client, remote, project, signal);
  const known = await sender.known(context);
  if (known !== undefined) return { id: known, project, bodies: 0, bytes: 0 };
  let offered = await sender.list(context);
  let stuck = 0;
  let before: string | undefined;
  while (offered.missing.length > 0) {
    const [first] = offered.missing;
    stuck = first === before ? stuck + 1 : 0;
    before = first;
    if (stuck === patience) {
      throw new SlipwayError('UPSTREAM', `${remote.endpoint.url} keeps asking for files that were sent`, {
        hint: 'Is something deleting them there? Try again.',
      });
    }
    const wanted = new Set(offered.missing as Digest[]);
    await sender.parcels(packBodies(context.entries, wanted, bodies, signal), offered.direct);
    offered = await client.json<OfferedContext>(
      'POST',
      `/api/v1/contexts/${offered.id}/complete${query({ project })}`,
      undefined,
      { repeatable: true },
    );
  }
  return { id: offered.id, project, bodies: sender.bodies, bytes: sender.bytes };
}

class Sender {
  bodies = 0;
  bytes = 0;
  readonly #client: Api;
  readonly #remote: Remote;
  readonly #project: string;
  readonly #signal: AbortSignal;

  constructor(client: Api, remote: Remote, project: string, signal: AbortSignal) {
    this.#client = client;
    this.#remote = remote;
    this.#project = project;
    this.#signal = signal;
  }

  /** The id of a list that is there and complete: the usual case of a build that is started again. */
  async known(context: Context): Promise<string | undefined> {
    const plain = context.encode();
    // Asking costs as much as sending it.
    if (plain.length < shortList) return undefined;
    const id = sha256(plain);
    try {
      const facts = await this.#client.json<ContextFacts>('GET', `/api/v1/contexts/${id}${query({ project: this.#project })}`);
      return facts.complete ? id : undefined;
    } catch (error) {
      if (isCode(error, 'NOT_FOUND')) return undefined;
      throw error;
    }
  }

  async list(context: Context): Promise<OfferedContext> {
    const plain = context.encode();
    const packed = await promisify(gzip)(plain, { level: 1 });
    if (packed.length > smallList) {
      const direct = await this.#directly({ digest: sha256(plain), size: plain.length, open: () => once(plain) }, 'list');
      if (direct !== undefined) return direct as OfferedContext;
    }
    const headers = { 'content-type': listType, 'content-encoding': 'gzip' };
    const path = `/api/v1/contexts${query({ project: this.#project })}`;
    return this.#client.answer(await this.#client.send('POST', path, packed, headers, { repeatable: true }));
  }

  /** The next parcel is made while others travel. */
  async parcels(parcels: AsyncIterable<Parcel>, direct: boolean): Promise<void> {
    const travelling = new Set<Promise<void>>();
    let failure: { readonly error: unknown } | undefined;
    try {
      for await (const parcel of parcels) {
        const sent = this.#parcel(parcel, direct)
          .catch((error: unknown) => {
            failure ??= { error };
          })
          .finally(() => travelling.delete(sent));
        travelling.add(sent);
        if (travelling.size >= width) await Promise.race(travelling);
        if (failure !== undefined) break;
      }
    } finally {
      await Promise.all(travelling);
    }
    if (failure !== undefined) throw failure.error;
  }

  async #parcel(parcel: Parcel, direct: boolean): Promise<void> {
    const size = parcel.kind === 'pack' ? parcel.bytes.length : parcel.size;
    const open = parcel.kind === 'pack' ? () => once(parcel.bytes) : parcel.open;
    const body = { digest: parcel.digest, size, open };
    if (!direct || (await this.#directly(body, parcel.kind)) === undefined) {
      const base = `/api/v1/contexts/${encodeURIComponent(this.#project)}`;
      if (parcel.kind === 'pack') {
        await this.#client.answer(await this.#client.send('PUT', `${base}/packs`, parcel.bytes, { 'content-type': packType }));
      } else {
        const path = `${base}/bodies/${parcel.digest}${query({ size })}`;
        await this.#client.answer(await this.#client.send('PUT', path, await parcel.open()));
      }
    }
    this.bodies += parcel.kind === 'pack' ? parcel.bodies.length : 1;
    this.bytes += size;
  }

  /** Undefined: this home has no direct uploads. */
  async #directly(
    body: {
      readonly digest: Digest;
      readonly size: number;
      open(): AsyncIterable<Uint8Array> | Promise<AsyncIterable<Uint8Array>>;
    },
    kind: AdoptRequest['kind'],
  ): Promise<unknown> {
    const { digest, size } = body;
    let upload: DirectUpload;
    try {
      upload = await this.#client.json<DirectUpload>('POST', '/api/v1/blobs', { digest, size }, { repeatable: true });
    } catch (error) {
      if (isCode(error, 'UNSUPPORTED')) return undefined;
      throw error;
    }
    await this.#remote.put(upload.url, upload.headers, body, this.#signal);
    const adopt: AdoptRequest = { kind, upload: upload.upload, digest, size };
    try {
      const path = `/api/v1/contexts/${encodeURIComponent(this.#project)}/adopt`;
      return await this.#client.json('POST', path, adopt, { repeatable: true });
    } catch (error) {
      // Said twice, when the first answer was lost: the next round tells whether it counted.
      if (kind !== 'list' && isCode(error, 'UPLOAD_UNKNOWN')) return {};
      throw error;
    }
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
