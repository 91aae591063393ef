// The context of a build in a home elsewhere: read on this machine, shown as a step of the build, and sent.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ReceivedContexts } from '../local/received-contexts.ts';
import type { BuildRequest, ContextRef } from '../shared/build/request.ts';
import type { Bodies } from '../shared/context/bodies.ts';
import { Ignore, parseIgnore } from '../shared/context/ignore.ts';
import type { Context } from '../shared/context/list.ts';
import { contextRoot, statCacheFile, walkDirectory } from '../shared/context/walk.ts';
import { userHome } from '../shared/user-home.ts';
import type { Api } from './api-client.ts';
import { humanSize } from './human.ts';
import { stdinBytes } from './input.ts';
import type { Io } from './io.ts';
import type { Progress } from './progress.ts';
import type { Remote } from './remote.ts';
import { sendContext } from './send-context.ts';

export interface Destination {
  readonly client: Api;
  readonly remote: Remote;
  readonly show: Progress;
  readonly io: Io;
}

export interface OpenArchive extends AsyncDisposable {
  readonly dockerfile: { readonly name: string; readonly text: string };
  readonly context: Context;
  readonly bodies: Bodies;
}

/** Before the steps of the build, which count from 1. */
const step = 0;

/** Files whose state has not changed since they were last sent are not read again. */
const cacheFolder = ({ env }: Io): string => join(env.XDG_CACHE_HOME || join(userHome(env), '.cache'), 'slipway');

export async function sendDirectory(path: string, ignore: BuildRequest['ignore'], to: Destination): Promise<ContextRef> {
  const { io } = to;
  return await shown(to, async (note) => {
    const walked = await walkDirectory(path, {
      ...(ignore === undefined ? {} : { ignore: new Ignore(ignore.name, parseIgnore(ignore.text)) }),
      cache: statCacheFile(cacheFolder(io), contextRoot(path)),
      now: io.now,
      signal: io.signal,
    });
    await note(`${walked.files} files, ${walked.bytes} bytes, ${walked.hashed} read`);
    return walked;
  });
}

export async function openArchive(io: Io, dockerfile: string | undefined): Promise<OpenArchive> {
  const contexts = new ReceivedContexts(async () => {
    const path = await mkdtemp(join(tmpdir(), 'slipway-context-'));
    return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
  });
  try {
    const received = await contexts.receive(stdinBytes(io), { dockerfile, signal: io.signal });
    const { list, body } = contexts.get(received.id);
    return {
      dockerfile: received.dockerfile,
      context: list,
      bodies: { body },
      [Symbol.asyncDispose]: () => contexts[Symbol.asyncDispose](),
    };
  } catch (error) {
    await contexts[Symbol.asyncDispose]();
    throw error;
  }
}

export async function sendArchive(archive: OpenArchive, to: Destination): Promise<ContextRef> {
  await using _ = archive;
  return await shown(to, async () => archive);
}

async function shown(
  { client, remote, show, io }: Destination,
  open: (note: (text: string) => Promise<void>) => Promise<{ readonly context: Context; readonly bodies: Bodies }>,
): Promise<ContextRef> {
  const note = async (text: string): Promise<void> => show.show({ type: 'note', id: step, text, at: io.now() });
  await show.show({ type: 'started', id: step, name: '[internal] load build context', at: io.now() });
  try {
    const { id, project, bodies, bytes } = await sendContext(client, remote, await open(note), io.signal);
    await note(bodies === 0 ? 'nothing new to send' : `sent ${bodies} files, ${humanSize(bytes)}`);
    await show.show({ type: 'done', id: step, at: io.now() });
    return { kind: 'stored', id, project };
  } catch (error) {
    await show.show({ type: 'failed', id: step, message: error instanceof Error ? error.message : String(error), at: io.now() });
    await show.end();
    throw error;
  }
}
