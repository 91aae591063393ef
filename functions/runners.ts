// Where RUN is executed in an account: MicroVMs for arm64 where the Region has them, CodeBuild for the rest. Both are given one thing, the
// ticket of a job, under a name that is known before: so a machine is found again when whoever started it could not say what it is called.
import {
  BatchGetBuildsCommand,
  CodeBuildClient,
  ListBuildsForProjectCommand,
  StartBuildCommand,
  StopBuildCommand,
} from '@aws-sdk/client-codebuild';
import { LambdaMicrovmsClient, RunMicrovmCommand, TerminateMicrovmCommand } from '@aws-sdk/client-lambda-microvms';
import { SlipwayError } from '../shared/errors.ts';
import type { JobTicket } from '../shared/workflow/job.ts';
import type { Machines } from '../shared/workflow/launcher.ts';
import { type Environment, required } from './environment.ts';

/** Seconds that one runner may live. A MicroVM ends itself then, whoever has forgotten it. */
const maximumSeconds = 4 * 3600;
/** Minutes that CodeBuild may let a job wait for a machine; the state machine gives a runner up that is not heard of for as long. */
const queueMinutes = 10;
/** Seconds that the URL of the program is good for: the queue, and a machine that starts slowly. */
const programSeconds = 3600;
/** Pages of a project's builds (100 each) that are looked through for one. The newest come first. */
const pages = 5;

export interface RunnerClients {
  readonly microvms: Pick<LambdaMicrovmsClient, 'send'>;
  readonly codebuild: Pick<CodeBuildClient, 'send'>;
  /** A URL by which anyone may read this object (`s3://BUCKET/KEY`) for so many seconds. */
  readonly sign: (object: string, seconds: number) => Promise<string>;
}

const awsClients = (env: Environment): RunnerClients => ({
  microvms: new LambdaMicrovmsClient({}),
  codebuild: new CodeBuildClient({}),
  async sign(object, expiresIn) {
    const [{ GetObjectCommand, S3Client }, { getSignedUrl }] = await Promise.all([
      import('@aws-sdk/client-s3'),
      import('@aws-sdk/s3-request-presigner'),
    ]);
    const { host: Bucket, pathname } = new URL(object);
    const client = new S3Client({ forcePathStyle: env.SLIPWAY_S3_PATH_STYLE === 'true' });
    return getSignedUrl(client, new GetObjectCommand({ Bucket, Key: pathname.slice(1) }), { expiresIn });
  },
});

/**
 * SLIPWAY_RUNNER_ARM64 and SLIPWAY_RUNNER_AMD64 say what executes RUN there: `microvm:` and the ARN of an image, or `codebuild:` and the
 * name of a project. Absent: nothing does. CodeBuild's machines have no right to read anything: they get SLIPWAY_RUNNER_PROGRAM
 * (`s3://...`) as a presigned URL.
 */
export function openMachines(env: Environment, clients: RunnerClients = awsClients(env)): Machines {
  const microvms = new Microvms(env, clients.microvms);
  const codebuild = new Codebuild(env, clients);
  const forPlatform = (platform: string): Kind => {
    const kind = [microvms, codebuild].find((one) => one.takes(platform));
    if (kind !== undefined) return kind;
    throw new SlipwayError('SANDBOX_UNAVAILABLE', `this home has no runner for RUN on ${platform}`, {
      hint: 'linux/arm64 and linux/amd64 are run; a deployment may have left one out (the construct’s `runners`).',
    });
  };
  return {
    start: async (platform, ticket, name) => forPlatform(platform).start(platform, ticket, name),
    find: async (platform, ticket, name) => forPlatform(platform).find(platform, ticket, name),
    async stop(handle) {
      const [kind, id] = split(handle);
      try {
        await (kind === 'microvm' ? microvms : codebuild).stop(id);
      } catch (error) {
        if (!hasEnded(error)) throw refused(error, `the runner ${handle} could not be stopped`);
      }
    },
  };
}

interface Kind extends Machines {
  takes(platform: string): boolean;
}

/** What comes before the first colon, and after it. */
function split(text: string): readonly [kind: string, name: string] {
  const at = text.indexOf(':');
  return [text.slice(0, Math.max(at, 0)), text.slice(at + 1)];
}

/** What executes RUN for a platform, if it is of this kind. */
function runnerOf(env: Environment, platform: string, kind: 'microvm' | 'codebuild'): string | undefined {
  const [, architecture] = platform.split('/');
  const said = { amd64: env.SLIPWAY_RUNNER_AMD64, arm64: env.SLIPWAY_RUNNER_ARM64 }[architecture ?? ''];
  const [is, name] = split(said ?? '');
  return is === kind ? name : undefined;
}

class Microvms implements Kind {
  readonly #env: Environment;
  readonly #client: RunnerClients['microvms'];

  constructor(env: Environment, client: RunnerClients['microvms']) {
    this.#env = env;
    this.#client = client;
  }

  takes(platform: string): boolean {
    return runnerOf(this.#env, platform, 'microvm') !== undefined;
  }

  async start(platform: string, ticket: JobTicket, name: string): Promise<string> {
    try {
      const { microvmId } = await this.#client.send(
        new RunMicrovmCommand({
          imageIdentifier: runnerOf(this.#env, platform, 'microvm'),
          // No execution role: there is nothing to be had from the metadata address. No idle policy: its work is outbound.
          maximumDurationInSeconds: maximumSeconds,
          runHookPayload: JSON.stringify(ticket),
          clientToken: name,
        }),
      );
      return `microvm:${microvmId}`;
    } catch (error) {
      throw refused(error, 'the MicroVM could not be started');
    }
  }

  /**
   * MicroVMs have neither names nor tags to look for, but the same request with the same client token answers the MicroVM that it made
   * before. One that was never started is so started now, for whoever asks to stop it.
   */
  async find(platform: string, ticket: JobTicket, name: string): Promise<string | undefined> {
    try {
      return await this.start(platform, ticket, name);
    } catch (error) {
      // There was no room to make it: then it had not been made before. Other refusals say nothing of what there is.
      if (error instanceof SlipwayError && noRoom.includes(nameOf(error.cause))) return undefined;
      throw error;
    }
  }

  async stop(id: string): Promise<void> {
    await this.#client.send(new TerminateMicrovmCommand({ microvmIdentifier: id }));
  }
}

/** The variable by which a build is found again. */
const nameVariable = 'SLIPWAY_RUNNER';

class Codebuild implements Kind {
  readonly #env: Environment;
  readonly #client: RunnerClients['codebuild'];
  readonly #sign: RunnerClients['sign'];

  constructor(env: Environment, { codebuild, sign }: Pick<RunnerClients, 'codebuild' | 'sign'>) {
    this.#env = env;
    this.#client = codebuild;
    this.#sign = sign;
  }

  takes(platform: string): boolean {
    return this.#project(platform) !== undefined;
  }

  #project(platform: string): string | undefined {
    return runnerOf(this.#env, platform, 'codebuild');
  }

  async start(platform: string, ticket: JobTicket, name: string): Promise<string> {
    const program = await this.#sign(required(this.#env, 'SLIPWAY_RUNNER_PROGRAM'), programSeconds);
    try {
      const { build } = await this.#client.send(
        new StartBuildCommand({
          projectName: this.#project(platform),
          // Counts for five minutes, and keeps one call from being carried out twice. Another call is signed anew, and so another one.
          idempotencyToken: name,
          timeoutInMinutesOverride: maximumSeconds / 60,
          queuedTimeoutInMinutesOverride: queueMinutes,
          environmentVariablesOverride: [
            { name: nameVariable, value: name, type: 'PLAINTEXT' },
            { name: 'SLIPWAY_JOB', value: JSON.stringify(ticket), type: 'PLAINTEXT' },
            { name: 'SLIPWAY_RUNNER_PROGRAM', value: program, type: 'PLAINTEXT' },
          ],
        }),
      );
      if (build?.id === undefined) throw new SlipwayError('INTERNAL', 'CodeBuild started a build and did not say which');
      return `codebuild:${build.id}`;
    } catch (error) {
      throw refused(error, 'the CodeBuild build could not be started');
    }
  }

  async find(platform: string, _ticket: JobTicket, name: string): Promise<string | undefined> {
    const projectName = this.#project(platform);
    for (let page = 0, nextToken: string | undefined; page < pages; page++) {
      const { ids = [], nextToken: more } = await this.#client.send(
        new ListBuildsForProjectCommand({ projectName, ...(nextToken === undefined ? {} : { nextToken }) }),
      );
      if (ids.length === 0) return undefined;
      const { builds = [] } = await this.#client.send(new BatchGetBuildsCommand({ ids }));
      const found = builds.find((build) =>
        build.environment?.environmentVariables?.some((variable) => variable.name === nameVariable && variable.value === name),
      );
      if (found !== undefined) return found.buildStatus === 'IN_PROGRESS' ? `codebuild:${found.id}` : undefined;
      if (more === undefined) return undefined;
      nextToken = more;
    }
    return undefined;
  }

  async stop(id: string): Promise<void> {
    try {
      await this.#client.send(new StopBuildCommand({ id }));
    } catch (error) {
      // Its guide does not say what it answers for a build that has ended by itself, as most have.
      if (nameOf(error) !== 'InvalidInputException' || (await this.#goesOn(id))) throw error;
    }
  }

  async #goesOn(id: string): Promise<boolean> {
    const { builds = [] } = await this.#client.send(new BatchGetBuildsCommand({ ids: [id] }));
    return builds.some(({ buildStatus }) => buildStatus === 'IN_PROGRESS');
  }
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : '');
const statusOf = (error: unknown): number | undefined =>
  (error as { readonly $metadata?: { readonly httpStatusCode?: number } } | null)?.$metadata?.httpStatusCode;

/** It is not there any more. */
const hasEnded = (error: unknown): boolean => nameOf(error) === 'ResourceNotFoundException';

const noRoom = ['InsufficientCapacityException', 'ServiceQuotaExceededException', 'AccountLimitExceededException'];
/** Worth another try after a while, and certainly not carried out. */
const full = ['ThrottlingException', 'TooManyRequestsException', ...noRoom];

/** A refusal says that nothing was started; anything else (a broken connection, an answer of 5xx) leaves that open. */
function refused(error: unknown, what: string): SlipwayError {
  if (error instanceof SlipwayError) return error;
  const name = nameOf(error);
  const message = `${what}: ${name}: ${error instanceof Error ? error.message : String(error)}`;
  if (full.includes(name)) {
    return new SlipwayError('TOO_MANY_REQUESTS', message, {
      cause: error,
      hint: 'Runners are limited by the account’s quotas for MicroVMs and for CodeBuild builds at the same time: ask for higher ones.',
    });
  }
  const status = statusOf(error);
  // 409: another request for the same one is on its way.
  if (status !== undefined && status >= 400 && status < 500 && status !== 409)
    return new SlipwayError('SANDBOX_UNAVAILABLE', message, { cause: error });
  return new SlipwayError('STORE', message, { cause: error });
}
