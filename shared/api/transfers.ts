// Transfers that are carried out elsewhere: look at, follow, cancel. They are started by pull and push (transfer.ts).
//
//   GET  /api/v1/transfers/ID
//   GET  /api/v1/transfers/ID/events?after=N             follows, one event a line
//   POST /api/v1/transfers/ID/cancel
import { SlipwayError } from '../errors.ts';
import { parseReference } from '../oci/reference.ts';
import type { TransferFacts as Facts, FollowedEvent, NumberedTransferEvent, TransferService } from '../transfer/service.ts';
import type { Access } from './access.ts';
import { json, ndjson } from './http.ts';
import type { ApiParts } from './parts.ts';
import { type Route, route } from './router.ts';
import { checkTransfer } from './transfer.ts';
import { whole } from './whole-number.ts';

export type TransferFacts = Facts;
export type TransferFailed = Extract<FollowedEvent, { readonly kind: 'failed' }>;
/** An event as a line: with its number, after which to go on. */
export type TransferLine = NumberedTransferEvent;

/** Milliseconds between signs of life. */
const heartbeat = 15_000;

export function transfersRoutes(parts: ApiParts): readonly Route[] {
  const found = async (id: string, access: Access): Promise<{ readonly service: TransferService; readonly facts: Facts }> => {
    if (parts.transfers === undefined) {
      throw new SlipwayError('NOT_FOUND', `there is no transfer ${id.slice(0, 80)}`, {
        hint: 'Here pulls and pushes are answered as they go, and end with their request.',
      });
    }
    const service = await parts.transfers();
    const facts = await service.get(id);
    checkTransfer(access, facts.verb, parseReference(facts.reference).repository);
    return { service, facts };
  };
  return [
    route('GET', '/api/v1/transfers/:id', async ({ params, access }) => json((await found(params.id as string, access)).facts)),
    route('GET', '/api/v1/transfers/:id/events', async ({ request, params, query, access }) => {
      const after = whole(query.get('after'), 'after', 0, 0, Number.MAX_SAFE_INTEGER);
      const { service, facts } = await found(params.id as string, access);
      const { signal } = request;
      return ndjson(service.events(facts.id, { after, ...(signal === undefined ? {} : { signal }) }), heartbeat);
    }),
    route('POST', '/api/v1/transfers/:id/cancel', async ({ params, access }) => {
      const { service, facts } = await found(params.id as string, access);
      await service.cancel(facts.id);
      return json({}, 202);
    }),
  ];
}
