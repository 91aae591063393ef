// Builds that outlive the process that asked for them: what was asked, how far it is, what it said, what it used. On Table and Blobs, so
// that the functions of an account and a server on one machine share them. Every write may be delivered twice, late, or by two at once:
// the first one counts, and the others change nothing.
//
//   queued --start--> running --succeed--> succeeded
//      |                 |------fail----> failed
//      '----cancelled----'--cancelled---> cancelled
//
// The end of a build and the last event of its log are one transaction, so who follows the log to its end knows the state.
import { type ErrorDocument, isCode, SlipwayError } from '../errors.ts';
import { type Digest, sha256 } from '../oci/digest.ts';
import { canonicalJson } from '../oci/encode.ts';
import type { Blobs, Options } from '../store/blobs.ts';
import { buildKeys } from '../store/keys.ts';
import { retrying } from '../store/removal.ts';
import type { Json, Table, TableRecord } from '../store/table.ts';
import { isTimedId, newTimedId } from '../store/timed-id.ts';
import { collect } from '../stream/collect.ts';
import type { BuildEvent } from './events.ts';
import type { BuildRequest } from './request.ts';
import type { StartOptions } from './service.ts';
import type { StageImage } from './stage-image.ts';
import {
  type Appended,
  appendEvents,
  type EventSource,
  emptyLog,
  type LogState,
  logOf,
  logWrites,
  type NumberedEvent,
  readEvents,
} from './stored-log.ts';

export type BuildState = 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled';

export const hasEnded = (state: BuildState): boolean => state !== 'queued' && state !== 'running';

/** All times in milliseconds since 1970. */
export interface BuildRecord {
  readonly id: string;
  readonly state: BuildState;
  readonly created: number;
  readonly started?: number;
  readonly ended?: number;
  /** When somebody asked for it to stop. */
  readonly cancelRequested?: number;
  /** Who started it. */
  readonly by?: string;
  /** The repositories whose images it may read; all of them without it. */
  readonly reads?: readonly string[];
  readonly project?: string;
  /** As asked for. */
  readonly tags: readonly string[];
  readonly dockerfile: string;
  readonly target?: string;
  readonly platform?: string;
  /** Nano-dollars that it may cost. */
  readonly budget?: number;
  /** Blobs with the documents. */
  readonly request: Digest;
  /** The request once its archive was unpacked: what is built. */
  readonly unpacked?: Digest;
  readonly plan?: Digest;
  /** What drives it, e.g. the ARN of an execution. */
  readonly execution?: string;
  /** The image, once it has succeeded. */
  readonly image?: Digest;
  readonly failure?: ErrorDocument;
}

export interface BuildRecordsOptions {
  readonly table: Table;
  readonly blobs: Blobs;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Seconds for which a build is remembered; for ever without it. */
  readonly keepFor?: number;
  /** Bytes of output kept of one build; 32 MiB unless told otherwise. */
  readonly keptOutput?: number;
}

/** Seconds for which a client's token stands for its build. */
const tokenLife = 24 * 3600;
const maxDocument = 64 << 20;
const maxFailure = 64 * 1024;

const asJson = (value: object): Json => value as unknown as Json;
const unknownBuild = (id: string): SlipwayError => new SlipwayError('NOT_FOUND', `there is no build ${id.slice(0, 80)}`);
const text = (document: unknown): Uint8Array => Buffer.from(JSON.stringify(document));

export class BuildRecords {
  readonly #table: Table;
  readonly #blobs: Blobs;
  readonly #clock: () => number;
  readonly #options: BuildRecordsOptions;

  constructor(options: BuildRecordsOptions) {
    this.#table = options.table;
    this.#blobs = options.blobs;
    this.#clock = options.clock;
    this.#options = options;
  }

  /**
   * Keeps a new build, queued. The same `clientToken` from the same `by` within a day answers the build it made; with another request it
   * is CONFLICT. `fresh` tells who has to set it going.
   */
  async create(
    request: BuildRequest,
    { clientToken, by, reads }: StartOptions = {},
  ): Promise<{ readonly build: BuildRecord; readonly fresh: boolean }> {
    const created = this.#clock();
    const id = newTimedId(created);
    const bytes = canonicalJson(request);
    const digest = sha256(bytes);
    const tokenKey = clientToken === undefined ? undefined : buildKeys.token(sha256(canonicalJson([by ?? '', clientToken])));
    if (tokenKey !== undefined) {
      const known = await this.#byToken(tokenKey, digest);
      if (known !== undefined) return { build: known, fresh: false };
    }
    await this.#put(Buffer.from(bytes));
    const { context } = request;
    const build: BuildRecord = {
      id,
      state: 'queued',
      created,
      tags: request.tags,
      dockerfile: request.dockerfile.name,
      request: digest,
      ...(by === undefined ? {} : { by }),
      ...(reads === undefined ? {} : { reads }),
      ...('project' in context && context.project !== undefined ? { project: context.project } : {}),
      ...(request.target === undefined ? {} : { target: request.target }),
      ...(request.platform === undefined ? {} : { platform: request.platform }),
      ...(request.budget === undefined ? {} : { budget: request.budget }),
    };
    const expires = this.#options.keepFor === undefined ? {} : { expires: Math.ceil(created / 1000 + this.#options.keepFor) };
    const condition = { ifAbsent: true } as const;
    try {
      await this.#table.transact([
        { kind: 'put', key: buildKeys.record(id), value: asJson(build), condition, ...expires },
        { kind: 'put', key: buildKeys.log(id), value: asJson(emptyLog), condition, ...expires },
        ...(tokenKey === undefined
          ? []
          : [
              {
                kind: 'put' as const,
                key: tokenKey,
                value: { id, request: digest },
                condition,
                expires: Math.ceil(created / 1000 + tokenLife),
              },
            ]),
      ]);
    } catch (error) {
      // Another call with the same token was first.
      if (tokenKey === undefined || !isCode(error, 'STORE_CONFLICT')) throw error;
      const known = await this.#byToken(tokenKey, digest);
      if (known === undefined) throw error;
      return { build: known, fresh: false };
    }
    return { build, fresh: true };
  }

  async #byToken(key: ReturnType<typeof buildKeys.token>, request: Digest): Promise<BuildRecord | undefined> {
    const record = await this.#table.get(key);
    if (record === undefined) return undefined;
    const known = record.value as { readonly id: string; readonly request: Digest };
    if (known.request !== request) {
      throw new SlipwayError('CONFLICT', `this client token already stands for another build, ${known.id}`, {
        hint: 'Use a new token for each build, and the same one only to repeat a call.',
        details: { id: known.id },
      });
    }
    return await this.get(known.id);
  }

  /** Absence is `undefined`. */
  async get(id: string): Promise<BuildRecord | undefined> {
    return (await this.#record(id))?.value as unknown as BuildRecord | undefined;
  }

  async #record(id: string): Promise<TableRecord | undefined> {
    return isTimedId(id) ? await this.#table.get(buildKeys.record(id)) : undefined;
  }

  /** Newest first, by the time of their creation. `after`: the id of the last one of the page before. */
  async list(page: { readonly after?: string; readonly limit: number }, options?: Options): Promise<readonly BuildRecord[]> {
    const records = await this.#table.query(
      buildKeys.builds,
      { limit: page.limit, reverse: true, ...(page.after === undefined ? {} : { after: page.after }) },
      options,
    );
    return records.map((record) => record.value as unknown as BuildRecord);
  }

  /** What was asked for. */
  async request(id: string): Promise<BuildRequest> {
    const build = await this.get(id);
    if (build === undefined) throw unknownBuild(id);
    return (await this.#document(build.unpacked ?? build.request)) as BuildRequest;
  }

  /** Keeps what the request came to when its archive was unpacked. When that is kept already, the first one counts: answers it. */
  async saveUnpacked(id: string, request: BuildRequest): Promise<BuildRequest> {
    const { digest } = await this.#put(text(request));
    const build = await this.#change(id, (known) => (known.unpacked === undefined ? { ...known, unpacked: digest } : undefined));
    return build.unpacked === digest ? request : ((await this.#document(build.unpacked!)) as BuildRequest);
  }

  /** From queued to running. Answers the build as it is now: the caller goes on only when that is `running`. */
  start(id: string, facts: { readonly execution?: string } = {}): Promise<BuildRecord> {
    return this.#change(id, (build) =>
      build.state === 'queued' ? { ...build, ...facts, state: 'running', started: this.#clock() } : undefined,
    );
  }

  /** From running to succeeded, with the last event. Answers the build as it is now. */
  succeed(id: string, result: { readonly digest: Digest; readonly tags: readonly string[] }): Promise<BuildRecord> {
    return this.#change(
      id,
      (build) => {
        if (build.state !== 'running') return undefined;
        return { ...build, state: 'succeeded', ended: this.#clock(), image: result.digest };
      },
      (at) => ({ type: 'result', digest: result.digest, tags: result.tags, at }),
    );
  }

  /** From queued or running to failed (or, when the failure is CANCELLED, to cancelled), with the last event. */
  fail(id: string, failure: ErrorDocument): Promise<BuildRecord> {
    const state = failure.code === 'CANCELLED' ? 'cancelled' : 'failed';
    const kept = bounded(failure);
    return this.#change(
      id,
      (build) => (hasEnded(build.state) ? undefined : { ...build, state, ended: this.#clock(), failure: kept }),
      (at) => ({ type: 'error', failure: kept, at }),
    );
  }

  /** Asks for it to stop. One that nobody has started yet is cancelled at once. */
  async requestCancel(id: string): Promise<BuildRecord> {
    const build = await this.#change(id, (known) =>
      hasEnded(known.state) || known.cancelRequested !== undefined ? undefined : { ...known, cancelRequested: this.#clock() },
    );
    return build.state === 'queued' ? this.fail(id, { code: 'CANCELLED', message: 'cancelled' }) : build;
  }

  /** Whether work on it has to stop: somebody asked for that, or it has ended. */
  async isCancelled(id: string): Promise<boolean> {
    const build = await this.get(id);
    return build === undefined || build.cancelRequested !== undefined || hasEnded(build.state);
  }

  /** Applies `step` unless it answers `undefined`; with `last`, the log is closed by that event in the same transaction. */
  #change(
    id: string,
    step: (build: BuildRecord) => BuildRecord | undefined,
    last?: (at: number) => BuildEvent,
  ): Promise<BuildRecord> {
    return retrying(async () => {
      const record = await this.#record(id);
      if (record === undefined) throw unknownBuild(id);
      const build = record.value as unknown as BuildRecord;
      const next = step(build);
      if (next === undefined) return build;
      const lasting = record.expires === undefined ? {} : { expires: record.expires };
      const condition = { ifVersion: record.version };
      if (last === undefined) {
        await this.#table.put(buildKeys.record(id), asJson(next), { condition, ...lasting });
        return next;
      }
      const log = await logOf(this.#table, id);
      const state = { ...(log.value as unknown as LogState), sources: {}, closed: true as const };
      await this.#table.transact([
        { kind: 'put', key: buildKeys.record(id), value: asJson(next), condition, ...lasting },
        ...logWrites(id, log, state, [last(next.ended ?? this.#clock())]),
      ]);
      return next;
    });
  }

  /** Keeps the plan. When one is kept already, that one counts: answers it. */
  async savePlan(id: string, plan: unknown): Promise<unknown> {
    const { digest } = await this.#put(text(plan));
    const build = await this.#change(id, (known) => (known.plan === undefined ? { ...known, plan: digest } : undefined));
    return build.plan === digest ? plan : await this.#document(build.plan!);
  }

  /** The plan, or `undefined` before there is one. */
  async plan(id: string): Promise<unknown> {
    const build = await this.get(id);
    if (build === undefined) throw unknownBuild(id);
    return build.plan === undefined ? undefined : await this.#document(build.plan);
  }

  /** Keeps a stage's finished image. When one is kept already, that one counts: answers it. */
  async saveStage(id: string, index: number, image: StageImage): Promise<StageImage> {
    const { digest } = await this.#put(text(image));
    const key = buildKeys.stage(id, index);
    const log = await logOf(this.#table, id);
    try {
      const expires = log.expires === undefined ? {} : { expires: log.expires };
      await this.#table.put(key, { image: digest }, { condition: { ifAbsent: true }, ...expires });
      return image;
    } catch (error) {
      if (!isCode(error, 'STORE_CONFLICT')) throw error;
      const record = await this.#table.get(key);
      if (record === undefined) throw error;
      return await this.#stage(record);
    }
  }

  async #stage(record: TableRecord): Promise<StageImage> {
    const image = (await this.#document((record.value as { image: Digest }).image)) as Omit<StageImage, 'time'> & {
      readonly time?: number;
    };
    // JSON leaves `undefined` out.
    return { ...image, time: image.time };
  }

  /** The stages that are finished, by index; those of `only` when given. */
  async stages(id: string, only?: ReadonlySet<number>): Promise<ReadonlyMap<number, StageImage>> {
    const found = new Map<number, StageImage>();
    for (const index of await this.finishedStages(id)) {
      if (only !== undefined && !only.has(index)) continue;
      const record = await this.#table.get(buildKeys.stage(id, index));
      if (record !== undefined) found.set(index, await this.#stage(record));
    }
    return found;
  }

  /** Indices of the stages that are finished: enough to see what can be run next. */
  async finishedStages(id: string): Promise<readonly number[]> {
    const indices: number[] = [];
    for (let after: string | undefined; ; ) {
      const records = await this.#table.query(buildKeys.partition(id), {
        prefix: buildKeys.stagePrefix,
        limit: 200,
        ...(after === undefined ? {} : { after }),
      });
      for (const { sort } of records) indices.push(Number(sort.slice(buildKeys.stagePrefix.length)));
      if (records.length < 200) return indices;
      after = records.at(-1)!.sort;
    }
  }

  /** See `appendEvents`. */
  append(id: string, source: EventSource & { readonly first: number }, events: readonly BuildEvent[]): Promise<Appended> {
    const { keptOutput } = this.#options;
    const parts = { table: this.#table, clock: this.#clock, ...(keptOutput === undefined ? {} : { keptOutput }) };
    return appendEvents(parts, id, source, events);
  }

  /** Up to `limit` events after number `after` (0: from the first). NOT_FOUND for an unknown build. */
  async events(id: string, page: { readonly after: number; readonly limit: number }): Promise<readonly NumberedEvent[]> {
    const found = isTimedId(id) ? await readEvents(this.#table, id, page) : [];
    if (found.length === 0 && (await this.#record(id)) === undefined) throw unknownBuild(id);
    return found;
  }

  async #put(bytes: Uint8Array): Promise<{ readonly digest: Digest }> {
    async function* once() {
      yield bytes;
    }
    return await this.#blobs.put(once(), { digest: sha256(bytes), size: bytes.length });
  }

  async #document(digest: Digest): Promise<unknown> {
    const blob = await this.#blobs.open(digest);
    if (blob === undefined) throw new SlipwayError('STORE', `the document ${digest} of a build is gone`);
    return JSON.parse(Buffer.from(await collect(blob.body, maxDocument, 'a document of a build')).toString('utf8'));
  }
}

/** Small enough for a record: details go first, then the end of the message. */
function bounded(failure: ErrorDocument): ErrorDocument {
  if (Buffer.byteLength(JSON.stringify(failure)) <= maxFailure) return failure;
  const { details: _, ...rest } = failure;
  const cut = (words: string): string => (words.length > 4096 ? `${words.slice(0, 4096).toWellFormed()}...` : words);
  return { ...rest, message: cut(rest.message), ...(rest.hint === undefined ? {} : { hint: cut(rest.hint) }) };
}
