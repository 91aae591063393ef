// Starts the runners of a build and stops them again, so that none outlives its build. Starting is: write down that it is about to be
// started, start it under a name made from that, write down what it is called. Whoever stops finds it at each point: before the first
// write there is nothing; between the two by its name; afterwards by what it is called. And who starts looks again after each of his
// writes whether the build goes on, so a launcher and a canceller who do not see each other's machine see each other's record.
import { type BuildRecord, hasEnded } from '../build/build-records.ts';
import { isCode, SlipwayError } from '../errors.ts';
import type { JobTicket } from './job.ts';
import { type JobRecord, JobRecords, type Machine } from './job-record.ts';
import { makeJobToken } from './job-token.ts';
import { failLog } from './source-log.ts';
import { expiresOf, stageSource, type WorkflowPorts } from './steps.ts';

/** Where runners run: MicroVMs, CodeBuild. All of it may be called twice. */
export interface Machines {
  /**
   * Starts one, and answers what it is called. For another call with the same name, see `find`.
   * @throws TOO_MANY_REQUESTS, SANDBOX_UNAVAILABLE when it was refused: then nothing was started. With anything else it may have been.
   */
  start(platform: string, ticket: JobTicket, name: string): Promise<string>;
  /** What was started with these words, if anything was and it has not ended. */
  find(platform: string, ticket: JobTicket, name: string): Promise<string | undefined>;
  /** No error when it has ended. */
  stop(handle: string): Promise<void>;
}

export interface LauncherPorts extends Pick<WorkflowPorts, 'records' | 'table' | 'clock'> {
  readonly machines: Machines;
  /** Signs job tokens; at least 32 bytes. */
  readonly key: Uint8Array;
  /** Where runners reach the home, without a slash at the end. */
  readonly url: string;
}

/** Runners that are lost are replaced until so many were started. */
export const maxAttempts = 4;
/** Seconds that one runner may take. One that was given up after that is not replaced: the next would take as long. */
export const runnerSeconds = 4 * 3600;
/** Seconds that a job's token is good for: the longest a runner may take. */
const tokenLife = 8 * 3600;

export interface Started {
  readonly attempt: number;
  readonly ticket: JobTicket;
  readonly handle: string;
}

export class Launcher {
  readonly #ports: LauncherPorts;
  readonly #jobs: JobRecords;

  constructor(ports: LauncherPorts) {
    this.#ports = ports;
    this.#jobs = new JobRecords(ports.table, expiresOf(ports));
  }

  /**
   * Starts a runner for a stage: the next attempt, which makes the tokens of earlier ones void. The same waiter is given the same one.
   * @throws SANDBOX when too many were lost; CANCELLED when the build does not go on
   */
  async start(build: string, stage: number, platform: string, waiter: string): Promise<Started> {
    const { machines } = this.#ports;
    await this.#check(build);
    const { attempt, fresh } = await this.#open(build, stage, platform, waiter);
    try {
      await this.#check(build);
      const machine = await this.#machine(build, stage, attempt);
      await this.#stop(build, stage, (other) => other.attempt !== attempt);
      const ticket = this.#ticket(build, stage, machine);
      const handle = machine.handle ?? (await this.#run(build, stage, machine, ticket, fresh));
      const kept = await this.#jobs.edit(build, stage, (job) => {
        if (job === undefined || job.attempt !== attempt || job.state !== 'open') return undefined;
        const known = job.machines.find((one) => one.attempt === attempt);
        if (known === undefined || known.handle !== undefined) return undefined;
        const others = job.machines.filter((one) => one !== known);
        return { ...job, tries: job.tries + 1, machines: [...others, { ...known, handle }] };
      });
      if (kept?.machines.some((one) => one.attempt === attempt && one.handle === handle) !== true) {
        await machines.stop(handle);
        throw new SlipwayError('CANCELLED', 'nobody waits for this runner any more');
      }
      await this.#check(build);
      return { attempt, ticket, handle };
    } catch (error) {
      // Whoever cancelled may have looked before there was anything to be seen.
      if (isCode(error, 'CANCELLED')) await this.stop(build, stage);
      throw error;
    }
  }

  /** Ends the attempt at a stage and stops every machine that was started for it. */
  async stop(build: string, stage: number): Promise<void> {
    await this.#jobs.edit(build, stage, (job) => (job?.state === 'open' ? { ...job, state: 'closed' } : undefined));
    await this.#stop(build, stage, () => true);
  }

  /** Stops every machine of a build. Tries all of them before it fails with what the first one failed with. */
  async stopAll(build: string): Promise<void> {
    const stages = await this.#jobs.stages(build);
    const ends = await Promise.allSettled(stages.map((stage) => this.stop(build, stage)));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  async #check(build: string): Promise<void> {
    const record: BuildRecord | undefined = await this.#ports.records.get(build);
    if (record === undefined || hasEnded(record.state) || record.cancelRequested !== undefined)
      throw new SlipwayError('CANCELLED', 'cancelled');
  }

  async #open(
    build: string,
    stage: number,
    platform: string,
    waiter: string,
  ): Promise<{ readonly attempt: number; readonly fresh: boolean }> {
    const now = this.#ports.clock();
    const expires = Math.floor(now / 1000) + tokenLife;
    let spent: SlipwayError | undefined;
    let fresh = false;
    const job = await this.#jobs.edit(build, stage, (before) => {
      spent = undefined;
      fresh = !(before?.waiter === waiter && before.state === 'open');
      if (!fresh) return undefined;
      spent = before === undefined ? undefined : whySpent(stage, before, now);
      if (spent !== undefined) return undefined;
      const attempt = (before?.attempt ?? 0) + 1;
      const machines = [...(before?.machines ?? []), { attempt, platform, expires }];
      return { attempt, state: 'open', waiter, opened: now, tries: before?.tries ?? 0, machines };
    });
    if (spent === undefined && job !== undefined) return { attempt: job.attempt, fresh };
    const places = { table: this.#ports.table, expires: expiresOf(this.#ports) };
    await failLog(places, build, stageSource(stage), spent, now);
    throw spent;
  }

  async #machine(build: string, stage: number, attempt: number): Promise<Machine> {
    const job = await this.#jobs.get(build, stage);
    const machine = job?.machines.find((one) => one.attempt === attempt);
    if (machine === undefined || job?.state !== 'open') throw new SlipwayError('CANCELLED', 'cancelled');
    return machine;
  }

  async #run(build: string, stage: number, machine: Machine, ticket: JobTicket, fresh: boolean): Promise<string> {
    const { machines } = this.#ports;
    const name = nameOf(build, stage, machine);
    try {
      const before = fresh ? undefined : await machines.find(machine.platform, ticket, name);
      return before ?? (await machines.start(machine.platform, ticket, name));
    } catch (error) {
      // Refused, and not tried before: there is nothing to be stopped.
      if (fresh && isCode(error, 'TOO_MANY_REQUESTS', 'SANDBOX_UNAVAILABLE')) await this.#forget(build, stage, machine);
      throw error;
    }
  }

  async #stop(build: string, stage: number, which: (machine: Machine) => boolean): Promise<void> {
    const { machines } = this.#ports;
    for (const machine of ((await this.#jobs.get(build, stage))?.machines ?? []).filter(which)) {
      const { platform } = machine;
      const ticket = this.#ticket(build, stage, machine);
      const handle = machine.handle ?? (await machines.find(platform, ticket, nameOf(build, stage, machine)));
      if (handle !== undefined) await machines.stop(handle);
      await this.#forget(build, stage, machine);
    }
  }

  async #forget(build: string, stage: number, { attempt }: Machine): Promise<void> {
    await this.#jobs.edit(build, stage, (job) => {
      if (job === undefined || !job.machines.some((one) => one.attempt === attempt)) return undefined;
      return { ...job, machines: job.machines.filter((one) => one.attempt !== attempt) };
    });
  }

  #ticket(build: string, stage: number, { attempt, expires }: Machine): JobTicket {
    const { key, url } = this.#ports;
    return { url: `${url}/api/v1/jobs/${build}/${stage}`, token: makeJobToken(key, { build, stage, attempt }, expires) };
  }
}

/** Why there is to be no other attempt, if so. */
function whySpent(stage: number, { tries, state, opened }: JobRecord, now: number): SlipwayError | undefined {
  if (state === 'closed' && now - opened >= runnerSeconds * 1000) {
    return new SlipwayError('SANDBOX', `stage ${stage} took its runner more than ${runnerSeconds / 3600} hours`, {
      hint: 'Split it into several RUNs: what one of them has done is kept for the next build.',
    });
  }
  if (tries < maxAttempts) return undefined;
  return new SlipwayError('SANDBOX', `stage ${stage} was given to ${maxAttempts} runners, and none finished it`, {
    hint: 'The log shows how far they came. A RUN that kills its machine, or needs more memory or disk than it has, ends like this.',
  });
}

const nameOf = (build: string, stage: number, { attempt }: Machine): string => `${build}-${stage}-${attempt}`;
