// RunMicrovm and StartBuild with machines behind them: the control plane that functions/runners.ts speaks to, in front of the fakes of the
// data planes. What the services check of a request is checked here, too.

import { StartBuildCommand, StopBuildCommand } from '@aws-sdk/client-codebuild';
import { RunMicrovmCommand, TerminateMicrovmCommand } from '@aws-sdk/client-lambda-microvms';
import { openMachines, type RunnerClients } from '../../functions/runners.ts';
import type { Machines } from '../../shared/workflow/launcher.ts';
import { programUrl, runFakeCodebuild } from './fake-codebuild.ts';
import { endedInTime, type FakeMicrovm, type FakeRunner, type FakeRunnerOptions, runFakeMicrovm } from './fake-microvm.ts';

export interface FakeServices extends AsyncDisposable {
  readonly machines: Machines;
  /** By what `machines.start` answered, ended or not. */
  runner(handle: string): FakeRunner | undefined;
  all(): readonly FakeRunner[];
  /** `METHOD authorization` of what was asked of the bucket with the program. */
  readonly fetched: readonly string[];
  /** Waits until every machine is gone: stopped, or ended by itself. Answers the exit codes. */
  allEnded(): Promise<readonly (number | null)[]>;
}

class Refused extends Error {
  override readonly name: string;
  readonly $metadata = { httpStatusCode: 400 };

  constructor(name: string, message: string) {
    super(message);
    this.name = name;
  }
}

/** `program`: the folder that the stack's bundle is made into. */
export async function fakeServices(program: string, options: FakeRunnerOptions = {}): Promise<FakeServices> {
  const object = await programUrl(program);
  const runners = new Map<string, FakeRunner>();
  const tokens = new Map<string, string>();
  const once = async (kind: string, token: string | undefined, start: () => Promise<FakeRunner>): Promise<string> => {
    if (token === undefined) throw new Refused('InvalidInputException', 'no token');
    const known = tokens.get(token);
    if (known !== undefined) return known;
    const id = `${kind}-${runners.size + 1}`;
    tokens.set(token, id);
    runners.set(id, await start());
    return id;
  };
  const clients: RunnerClients = {
    sign: async (name) => {
      if (name !== 's3://assets/program.zip') throw new Error(`asked for a URL of ${name}`);
      return object.url;
    },
    microvms: {
      async send(command: unknown) {
        if (command instanceof RunMicrovmCommand) {
          const { imageIdentifier, executionRoleArn, idlePolicy, runHookPayload = '', clientToken } = command.input;
          if (!imageIdentifier?.startsWith('arn:')) throw new Refused('ValidationException', 'imageIdentifier');
          // What the stack promises: no role, and no sleep.
          if (executionRoleArn !== undefined || idlePolicy !== undefined) throw new Refused('AccessDeniedException', 'a role');
          return { microvmId: await once('microvm', clientToken, () => runFakeMicrovm(runHookPayload, options)) };
        }
        if (command instanceof TerminateMicrovmCommand) {
          const runner = runners.get(command.input.microvmIdentifier ?? '') as FakeMicrovm | undefined;
          if (runner === undefined) throw new Refused('ResourceNotFoundException', 'no such MicroVM');
          await runner.hook('terminate').catch(() => undefined);
          await endedInTime(runner);
          await runner.kill();
          return {};
        }
        throw new Error('not faked');
      },
    } as RunnerClients['microvms'],
    codebuild: {
      async send(command: unknown) {
        if (command instanceof StartBuildCommand) {
          const { environmentVariablesOverride = [], idempotencyToken } = command.input;
          const variables = Object.fromEntries(environmentVariablesOverride.map(({ name, value }) => [name ?? '', value ?? '']));
          return { build: { id: await once('slipway:build', idempotencyToken, () => runFakeCodebuild(variables, options)) } };
        }
        if (command instanceof StopBuildCommand) {
          runners.get(command.input.id ?? '')?.signal('SIGTERM');
          return {};
        }
        throw new Error('not faked');
      },
    } as RunnerClients['codebuild'],
  };
  const machines = openMachines(
    {
      SLIPWAY_RUNNER_ARM64: 'microvm:arn:aws:lambda:us-east-1:123456789012:microvm-image:slipway-runner',
      SLIPWAY_RUNNER_AMD64: 'codebuild:slipway-amd64',
      SLIPWAY_RUNNER_PROGRAM: 's3://assets/program.zip',
    },
    clients,
  );
  return {
    machines,
    runner: (handle) => runners.get(handle.replace(/^(microvm|codebuild):/, '')),
    all: () => [...runners.values()],
    fetched: object.requests,
    allEnded: () => Promise.all([...runners.values()].map(({ ended }) => ended)),
    async [Symbol.asyncDispose]() {
      for (const runner of runners.values()) await runner[Symbol.asyncDispose]();
      await object[Symbol.asyncDispose]();
    },
  };
}
