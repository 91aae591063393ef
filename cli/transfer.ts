// What pull and push have in common: their options, and the events of a transfer as the control API tells them.
import type { TransferRequest } from '../shared/api/transfer.ts';
import type { TransferEvent } from '../shared/client/transfer-events.ts';
import { parseReference } from '../shared/oci/reference.ts';
import type { Api } from './api-client.ts';
import type { Io } from './io.ts';
import { print } from './io.ts';
import { transferLines } from './transfer-lines.ts';

export interface TransferOptions {
  readonly 'all-tags': boolean | undefined;
  readonly platform: string | undefined;
  readonly quiet: boolean | undefined;
}

/** Shows a transfer as it goes, unless it is to be quiet; yields the end of each image. */
export async function* transfer(
  verb: 'pull' | 'push',
  name: string,
  options: TransferOptions,
  { io, api }: { readonly io: Io; readonly api: () => Promise<Api> },
): AsyncGenerator<Extract<TransferEvent, { readonly kind: 'done' }>> {
  const { tag, digest } = parseReference(name);
  const allTags = options['all-tags'] === true;
  const quiet = options.quiet === true;
  if (!quiet && !allTags && tag === undefined && digest === undefined) await print(io, 'Using default tag: latest');
  const request: TransferRequest = {
    reference: name,
    ...(options.platform === undefined ? {} : { platform: options.platform }),
    ...(allTags ? { allTags } : {}),
  };
  const lines = transferLines(io);
  for await (const event of (await api()).events<TransferEvent>('POST', `/api/v1/images/${verb}`, request)) {
    if (!quiet) await lines.show(event);
    if (event.kind === 'done') yield event;
  }
}
