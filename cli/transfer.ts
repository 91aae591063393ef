// What pull and push have in common: their options, and the events of a transfer, whether the home tells them as it works or carries it
// out elsewhere.
import { randomUUID } from 'node:crypto';
import type { StartedTransfer, TransferRequest } from '../shared/api/transfer.ts';
import type { TransferFacts, TransferFailed, TransferLine } from '../shared/api/transfers.ts';
import type { TransferEvent } from '../shared/client/transfer-events.ts';
import { type ErrorDocument, isErrorCode, SlipwayError } from '../shared/errors.ts';
import { parseReference } from '../shared/oci/reference.ts';
import type { Api } from './api-client.ts';
import { cancellable, followEvents } from './follow-events.ts';
import type { Io } from './io.ts';
import { print } from './io.ts';
import type { Remote } from './remote.ts';
import { transferLines } from './transfer-lines.ts';

export interface TransferOptions {
  readonly 'all-tags': boolean | undefined;
  readonly platform: string | undefined;
  readonly quiet: boolean | undefined;
  /** Docker's, and true unless said otherwise. */
  readonly 'disable-content-trust': boolean | undefined;
}

type Done = Extract<TransferEvent, { readonly kind: 'done' }>;

export interface TransferCall {
  readonly io: Io;
  readonly api: () => Promise<Api>;
  readonly remote: () => Promise<Remote | undefined>;
}

/** Shows a transfer as it goes, unless it is to be quiet; answers how it ended. */
export async function transfer(
  verb: 'pull' | 'push',
  name: string,
  options: TransferOptions,
  { io, api, remote }: TransferCall,
): Promise<Done> {
  if (options['disable-content-trust'] === false) {
    throw new SlipwayError('UNSUPPORTED', '--disable-content-trust=false: signatures are neither checked nor made', {
      hint:
        verb === 'pull'
          ? 'Name the image by its digest to get that one and no other.'
          : 'Sign it where it is then, e.g. with cosign.',
    });
  }
  const { tag, digest } = parseReference(name);
  const allTags = options['all-tags'] === true;
  const quiet = options.quiet === true;
  if (!quiet && !allTags && tag === undefined && digest === undefined) await print(io, 'Using default tag: latest');
  const given = { ...(options.platform === undefined ? {} : { platform: options.platform }), ...(allTags ? { allTags } : {}) };
  const request = await askedOf(name, given, await remote());
  const lines = transferLines(io);
  return await carriedOut(await api(), verb, request, io, async (event) => {
    if (!quiet) await lines.show(event);
  });
}

/** The request for the image of this name. A home elsewhere knows our logins only if it is told; the one here reads them itself. */
export async function askedOf(
  reference: string,
  options: Pick<TransferRequest, 'platform' | 'allTags'>,
  remote: Remote | undefined,
): Promise<TransferRequest> {
  if (remote === undefined) return { reference, ...options };
  const { host, path } = parseReference(reference);
  const login = await remote.loginFor(host, path);
  return { reference, ...options, clientToken: randomUUID(), ...(login === undefined ? {} : { login }) };
}

/** Tells the events of a transfer to the last one, which it answers. What goes wrong is thrown as the home tells it. */
export async function carriedOut(
  client: Api,
  verb: 'pull' | 'push',
  request: TransferRequest,
  { signal }: Pick<Io, 'signal'>,
  tell: (event: TransferEvent) => Promise<void>,
): Promise<Done> {
  const body = Buffer.from(JSON.stringify(request));
  const repeatable = request.clientToken !== undefined;
  const headers = { 'content-type': 'application/json' };
  const answer = await client.send('POST', `/api/v1/images/${verb}`, body, headers, { repeatable });
  if (answer.status !== 202) {
    let done: Done | undefined;
    for await (const event of client.eventsOf<TransferEvent>(answer)) {
      await tell(event);
      if (event.kind === 'done') done = event;
    }
    if (done !== undefined) return done;
    throw new SlipwayError('UPSTREAM', `the ${verb} ended without a result`, { hint: 'Try again.' });
  }
  const { id } = await client.answer<StartedTransfer>(answer);
  const at = `/api/v1/transfers/${id}`;
  const end = await cancellable(client, { signal, cancelPath: `${at}/cancel`, elsewhere: true }, (calm, enough) =>
    followEvents<TransferLine, Done | TransferFailed>(calm, {
      what: verb,
      id,
      path: `${at}/events`,
      tell: async ({ number: _, ...event }) => {
        if (event.kind !== 'failed') await tell(event as TransferEvent);
      },
      endOf: (event) => (event.kind === 'done' || event.kind === 'failed' ? event : undefined),
      // All of it was told before it was lost sight of: only a failure can be told without its event.
      async ended() {
        const { failure } = await calm.json<TransferFacts>('GET', at);
        return failure && { kind: 'failed', failure };
      },
      elsewhere: true,
      hint: 'It goes on without being watched. The same command again shows how far it is.',
      signal: enough,
    }),
  );
  if (end.kind === 'failed') throw thrown(end.failure);
  return end;
}

const thrown = ({ code, message, hint, details }: ErrorDocument): SlipwayError =>
  new SlipwayError(isErrorCode(code) ? code : 'INTERNAL', message, {
    ...(hint === undefined ? {} : { hint }),
    ...(details === undefined ? {} : { details }),
  });
