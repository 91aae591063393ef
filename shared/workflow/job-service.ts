// The home's side of jobs. A runner may read what its stage is made from, store blobs, and write to its own job's records; nothing that
// another build reads is ever written on its word. What it claims is checked and put in its place by the stage step (settle.ts).
import type { BuildEvent } from '../build/events.ts';
import type { StageInput } from '../build/executor.ts';
import { type KeyStruct, keyOf } from '../build/key.ts';
import type { Step } from '../build/plan.ts';
import { UsageRecords } from '../build/usage-records.ts';
import type { MeterReading } from '../cost/meter.ts';
import { type ErrorDocument, errorDocument, isCode, SlipwayError } from '../errors.ts';
import type { Layer } from '../layer/layer.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { canonicalJson } from '../oci/encode.ts';
import { formatPlatform } from '../oci/platform.ts';
import type { BlobStat } from '../store/blobs.ts';
import { contextKeys, jobKeys } from '../store/keys.ts';
import type { Json } from '../store/table.ts';
import { mustStop } from './budget.ts';
import { homeCodec } from './codec-check.ts';
import { beatSeconds, type FoundStep, type JobDocument, warningEvent } from './job.ts';
import { type JobRecord, JobRecords } from './job-record.ts';
import type { JobId } from './job-token.ts';
import type { Claim } from './settle.ts';
import { type Failed, giveLog, isPassing, type LogPlace, takeLog } from './source-log.ts';
import { cacheOf, expiresOf, planOf, stageInput, stageSource, type WorkflowPorts } from './steps.ts';

export interface JobPorts extends WorkflowPorts {
  /** Tells whoever waits for the job: in an account, Step Functions. `token`: the waiter of `Launcher.start`. */
  readonly signals: JobSignals;
}

export interface JobSignals {
  done(token: string): Promise<void>;
  failed(token: string, code: string, message: string): Promise<void>;
  /** Whether it is still waited for. */
  alive(token: string): Promise<boolean>;
}

const linkSeconds = 3600;

const asJson = (value: object): Json => JSON.parse(JSON.stringify(value)) as Json;

export class JobService {
  readonly #ports: JobPorts;
  readonly #jobs: JobRecords;

  constructor(ports: JobPorts) {
    this.#ports = ports;
    this.#jobs = new JobRecords(ports.table, expiresOf(ports));
  }

  /** What the job is. Asked again, it answers the same. */
  async claim(id: JobId): Promise<JobDocument> {
    const { records, layerRecords } = this.#ports;
    const job = await this.#job(id);
    const [{ input, stored }, request] = await Promise.all([this.#input(id), records.request(id.build)]);
    let { log } = job;
    if (log === undefined) {
      const taken = await takeLog(this.#places, id.build, stageSource(id.stage), ownerOf(id));
      log = taken;
      await this.#edit(id, (known) => (known.log === undefined ? { ...known, log: taken } : undefined));
    }
    const layers = [input.start, ...input.sources.values()].flatMap((image) => image.layers);
    const tocs: Record<string, Digest> = {};
    for (const { diffId } of layers) {
      const toc = (await layerRecords.get(diffId))?.toc;
      if (toc !== undefined) tocs[diffId] = toc;
    }
    const { context } = request;
    const list = context.kind === 'stored' && isDigest(context.id) ? context.id : undefined;
    const readable = [
      ...layers.map((layer) => layer.descriptor.digest),
      ...Object.values(tocs),
      ...(list === undefined ? [] : [list]),
    ];
    await this.#grant(id, readable);
    const { stages, warnings: _, ...plan } = stored.plan;
    return {
      plan,
      stage: input.stage,
      stages: stages.length,
      start: input.start,
      sources: [...input.sources],
      tocs,
      ...(list === undefined ? {} : { context: { list, scope: projectOf(request) } }),
      log,
      codec: this.#ports.codecs?.home ?? homeCodec(),
      beat: beatSeconds,
    };
  }

  /** The cached result of a step of this stage. */
  async lookup(id: JobId, struct: unknown): Promise<FoundStep | undefined> {
    await this.#job(id);
    const { input } = await this.#input(id);
    const asked = checkStruct(struct, input);
    const request = await this.#ports.records.request(id.build);
    const hit = await cacheOf(id.build, input, request, this.#ports).lookup(asked);
    if (hit !== undefined) {
      const layer = await this.#ports.layers.find(hit.diffId);
      if (layer === undefined) return undefined;
      const toc = (await this.#ports.layerRecords.get(hit.diffId))?.toc;
      await this.#grant(id, [layer.descriptor.digest, ...(toc === undefined ? [] : [toc])]);
      return found(hit.diffId, hit.made, layer, toc);
    }
    // What an earlier attempt at this job did before it was lost.
    const claim = (await this.#ports.table.get(jobKeys.claim(id.build, id.stage, keyOf(asked))))?.value as Claim | undefined;
    if (claim === undefined || (await this.#ports.blobs.stat(claim.blob)) === undefined) return undefined;
    await this.#grant(id, [claim.blob]);
    const { diffId, blob, size, made } = claim;
    return { diffId, made, layer: { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: blob, size } };
  }

  /** Notes what a RUN of this stage made. Nothing else reads it before it was checked. */
  async save(id: JobId, struct: unknown, claim: Claim): Promise<void> {
    await this.#job(id);
    const { input } = await this.#input(id);
    const done = checkStruct(struct, input);
    if (done.operation.kind !== 'run') throw new SlipwayError('DENIED', 'a runner answers for RUN only');
    if (!(await this.#sent(id, claim.blob))) throw new SlipwayError('DENIED', `this job did not send ${claim.blob}`);
    await this.#ports.table.put(jobKeys.claim(id.build, id.stage, keyOf(done)), asJson(claim), { expires: this.#expires() });
  }

  /** A URL for reading a blob that the stage is made from. */
  async read(id: JobId, digest: Digest): Promise<{ readonly url: string; readonly size: number }> {
    await this.#job(id);
    const { blobs, table } = this.#ports;
    if ((await table.get(jobKeys.read(id.build, id.stage, digest))) === undefined && !(await this.#sent(id, digest))) {
      throw new SlipwayError('DENIED', `${digest} is not for this job`);
    }
    const stat = await blobs.stat(digest);
    const url = await this.#links().read(digest, { method: 'GET', seconds: linkSeconds });
    if (stat === undefined || url === undefined) throw new SlipwayError('NOT_FOUND', `${digest} is not stored`);
    return { url, size: stat.size };
  }

  /** A URL for storing a blob. That it is there already is not told: the bytes must come. */
  async write(id: JobId, blob: BlobStat) {
    await this.#job(id);
    const target = await this.#links().write(blob, { seconds: linkSeconds });
    const key = jobKeys.upload(id.build, id.stage, target.id);
    await this.#ports.table.put(key, { digest: blob.digest }, { expires: this.#expires() });
    return target;
  }

  async confirm(id: JobId, upload: string, blob: BlobStat): Promise<void> {
    await this.#job(id);
    if (await this.#sent(id, blob.digest)) return;
    const place = await this.#ports.table.get(jobKeys.upload(id.build, id.stage, upload));
    if ((place?.value as { readonly digest?: unknown } | undefined)?.digest !== blob.digest)
      throw new SlipwayError('DENIED', `this job was given no place for ${blob.digest} under that name`);
    await this.#links().confirm(upload, blob, { proven: true });
    await this.#ports.table.put(jobKeys.sent(id.build, id.stage, blob.digest), { size: blob.size }, { expires: this.#expires() });
  }

  /** Where the contents of files of this build's context are. */
  async bodies(id: JobId, digests: readonly Digest[]) {
    await this.#job(id);
    const { records, table, context } = this.#ports;
    const request = await records.request(id.build);
    if (request.context.kind !== 'stored') throw new SlipwayError('DENIED', 'this build has no context');
    const { list } = await context(request, AbortSignal.timeout(60_000));
    const own = new Set(list.entries.map((entry) => entry.digest));
    const wanted = [...new Set(digests)].filter((digest) => own.has(digest));
    const found = await table.getMany(wanted.map((digest) => contextKeys.body(projectOf(request), digest)));
    const places = found.flatMap((record) =>
      record === undefined ? [] : [{ digest: record.sort as Digest, place: record.value }],
    );
    await this.#grant(id, [...new Set(places.map(({ place }) => (place as { readonly blob: Digest }).blob))]);
    return places;
  }

  /** Stores events of the stage's log. */
  async log(id: JobId, first: number, events: readonly unknown[]): Promise<{ readonly closed: boolean }> {
    const { log } = await this.#job(id);
    if (log === undefined) throw new SlipwayError('CONFLICT', 'the job was not claimed');
    const checked = events.map(eventOf);
    const source = { name: stageSource(id.stage), attempt: log.attempt, first };
    return this.#ports.records.append(id.build, source, checked);
  }

  /** Tells that the runner lives; answers whether it should stop. */
  async heartbeat(id: JobId): Promise<{ readonly cancelled: boolean }> {
    const { waiter } = await this.#job(id);
    if (await mustStop(id.build, this.#ports)) return { cancelled: true };
    if (await this.#ports.signals.alive(waiter)) return { cancelled: false };
    // Given up, cut off, stopped by hand: nobody waits for it, and what it says of its end is no reason of anything.
    await this.#edit(id, (job) => (job.state === 'open' ? { ...job, state: 'closed' } : undefined)).catch(ifClosed);
    return { cancelled: true };
  }

  /** The runner has done all it can. Said again, it changes nothing. */
  async complete(id: JobId, place: Omit<LogPlace, 'attempt'>, used?: MeterReading): Promise<void> {
    const job = await this.#end(id, 'done', place);
    await this.#keepUsage(id, used);
    await this.#ports.signals.done(job.waiter);
  }

  /** The runner has failed. Said again, it changes nothing. */
  async fail(id: JobId, failure: ErrorDocument, place: Omit<LogPlace, 'attempt'>, used?: MeterReading): Promise<void> {
    const stopped = failure.code === 'CANCELLED' && !(await this.#ports.records.isCancelled(id.build));
    const known = stopped
      ? new SlipwayError('INTERNAL', 'the machine of this stage was stopped, and nobody asked for that')
      : knownFailure(failure);
    const failed = isPassing(known) ? undefined : { failure: errorDocument(known), at: this.#ports.clock() };
    const job = await this.#end(id, 'failed', place, failed);
    await this.#keepUsage(id, used);
    await this.#ports.signals.failed(job.waiter, known.code, known.message.slice(0, 1000));
  }

  /** What the runner says it used: its word, for an estimate. Said again, the first counts. */
  async #keepUsage(id: JobId, used: MeterReading | undefined): Promise<void> {
    const { build, stage, attempt } = id;
    if (used === undefined) return;
    const steps = used.steps.map((step) => ({ ...step, stage }));
    const part = { at: 0, usage: used.usage, steps, job: { stage, attempt } };
    await new UsageRecords(this.#ports.table).save(build, `job.${stage}.${attempt}`, part);
  }

  async #end(id: JobId, state: 'done' | 'failed', place: Omit<LogPlace, 'attempt'>, failed?: Failed): Promise<JobRecord> {
    const { log } = await this.#job(id, state);
    const source = stageSource(id.stage);
    const taken = log ?? (await takeLog(this.#places, id.build, source, ownerOf(id)));
    await giveLog(
      this.#places,
      id.build,
      source,
      ownerOf(id),
      log === undefined ? taken : { ...place, ...attemptOf(log) },
      failed,
    );
    return this.#edit(id, (known) => (known.state === state ? undefined : { ...known, state }));
  }

  readonly #expires = (): number => expiresOf(this.#ports)();

  get #places() {
    return { table: this.#ports.table, expires: this.#expires };
  }

  #links() {
    const { link } = this.#ports.blobs;
    if (link === undefined) throw new SlipwayError('UNSUPPORTED', 'jobs need a store that gives URLs');
    return link;
  }

  async #sent(id: JobId, digest: Digest): Promise<boolean> {
    return (await this.#ports.table.get(jobKeys.sent(id.build, id.stage, digest))) !== undefined;
  }

  async #grant(id: JobId, digests: readonly Digest[]): Promise<void> {
    const once = [...new Set(digests)];
    const known = await this.#ports.table.getMany(once.map((digest) => jobKeys.read(id.build, id.stage, digest)));
    const fresh = once.filter((_, i) => known[i] === undefined);
    for (let at = 0; at < fresh.length; at += 100) {
      const writes = fresh.slice(at, at + 100).map((digest) => ({
        kind: 'put' as const,
        key: jobKeys.read(id.build, id.stage, digest),
        value: {},
        expires: this.#expires(),
      }));
      await this.#ports.table.transact(writes);
    }
  }

  async #input({ build, stage }: JobId) {
    const stored = await planOf(build, this.#ports);
    return { stored, input: await stageInput(build, stage, stored, this.#ports.records) };
  }

  /** The job, if this is its attempt and it is open (or in `also`, for who says the same again). */
  async #job(id: JobId, also?: JobRecord['state']): Promise<JobRecord> {
    return own(id, await this.#jobs.get(id.build, id.stage), also);
  }

  /** Changes the job while it is this attempt's and still waited for. */
  async #edit(id: JobId, change: (job: JobRecord) => JobRecord | undefined): Promise<JobRecord> {
    const job = await this.#jobs.edit(id.build, id.stage, (known) => change(own(id, known, 'any')));
    return own(id, job, 'any');
  }
}

/** It was closed by this very change, or by somebody who was first. */
function ifClosed(error: unknown): void {
  if (!isCode(error, 'CONFLICT', 'DENIED')) throw error;
}

/** Who has the log while a runner writes it. */
const ownerOf = ({ stage, attempt }: JobId): string => `job-${stage}-${attempt}`;

const attemptOf = ({ attempt }: LogPlace): Pick<LogPlace, 'attempt'> => ({ attempt });

/** @throws DENIED when it is another attempt's by now, CONFLICT when it is over */
function own({ attempt }: JobId, job: JobRecord | undefined, also: JobRecord['state'] | 'any' | undefined): JobRecord {
  if (job === undefined || job.attempt !== attempt) throw new SlipwayError('DENIED', 'this job was given to another runner');
  const closed = job.state === 'closed' || (job.state !== 'open' && also !== 'any' && job.state !== also);
  if (closed) throw new SlipwayError('CONFLICT', `this job is over: ${job.state}`);
  return job;
}

const projectOf = (request: { readonly context: { readonly kind: string; readonly project?: string | undefined } }): string =>
  request.context.project ?? 'default';

const found = (diffId: Digest, made: number, { descriptor }: Layer, toc: Digest | undefined): FoundStep => ({
  diffId,
  made,
  layer: { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size },
  ...(toc === undefined ? {} : { toc }),
});

/** The key of a step of this very stage, or DENIED: a job cannot ask for what other builds would have made. */
function checkStruct(value: unknown, { plan, stage }: StageInput): KeyStruct {
  const struct = value as KeyStruct | null;
  const bad = () => new SlipwayError('DENIED', 'this is no step of the job’s stage');
  if (typeof struct !== 'object' || struct === null || struct.version !== 1 || typeof struct.operation !== 'object') throw bad();
  if (struct.platform !== formatPlatform(plan.platform) || struct.epoch !== plan.epoch || typeof struct.parent !== 'string')
    throw bad();
  if (!stage.steps.some((step) => isKeyOf(struct, step))) throw bad();
  return struct;
}

function isKeyOf({ operation }: KeyStruct, step: Step): boolean {
  const planned = step.operation;
  if (operation.kind === 'run' && planned.kind === 'run') {
    const { args, env, user, cwd, network } = planned;
    const { files: _, ...asked } = operation;
    return canonicalJson(asked) === canonicalJson({ kind: 'run', args, env, user, cwd, network });
  }
  if (operation.kind === 'copy' && planned.kind === 'copy') return operation.destination === planned.destination;
  if (operation.kind === 'fetch' && planned.kind === 'fetch') return operation.destination === planned.destination;
  return operation.kind === 'workdir' && planned.kind === 'workdir' && operation.path === planned.path;
}

const plain = new Set(['started', 'log', 'note', 'done', 'failed', 'cancelled']);

/** An event of a step; a runner cannot end a build, nor warn in a Dockerfile's name. */
function eventOf(value: unknown): BuildEvent {
  const warned = warningEvent.safeParse(value);
  if (warned.success) return warned.data;
  const event = value as { readonly type?: unknown; readonly id?: unknown; readonly at?: unknown } | null;
  const ok =
    typeof event === 'object' &&
    event !== null &&
    typeof event.type === 'string' &&
    plain.has(event.type) &&
    Number.isSafeInteger(event.id) &&
    Number.isFinite(event.at);
  if (!ok) throw new SlipwayError('INVALID_DOCUMENT', 'an event is not one of a step');
  const { type, id, at, name, text, stream, message, cached } = event as unknown as Readonly<Record<string, unknown>>;
  const words = (word: unknown): string => (typeof word === 'string' ? word : '');
  const common = { id: id as number, at: at as number };
  switch (type) {
    case 'started':
      return { type, ...common, name: words(name) };
    case 'log':
      return { type, ...common, stream: stream === 'stderr' ? 'stderr' : 'stdout', text: words(text) };
    case 'note':
      return { type, ...common, text: words(text) };
    case 'failed':
      return { type, ...common, message: words(message) };
    case 'cancelled':
      return { type, ...common };
    default:
      return { type: 'done', ...common, ...(cached === true ? { cached: true as const } : {}) };
  }
}

/** A runner's failure is the build's, but it chooses no code of ours but those that its work can have. */
function knownFailure({ code, message, hint, where, details }: ErrorDocument): SlipwayError {
  const allowed = [
    'SANDBOX',
    'SANDBOX_UNAVAILABLE',
    'DISK_FULL',
    'CONTEXT',
    'CANCELLED',
    'INTERNAL',
    'UNSUPPORTED',
    'TOO_LARGE',
    // The home was in its way, which another try may be spared.
    'STORE',
  ] as const;
  return new SlipwayError(allowed.find((one) => one === code) ?? 'STEP_FAILED', message, {
    ...(hint === undefined ? {} : { hint }),
    ...(where === undefined ? {} : { where }),
    ...(details === undefined ? {} : { details }),
  });
}
