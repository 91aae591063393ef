import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// One runner, one project per layer of tests, so that `npm run check` can leave out what needs real clients or a local AWS.
const project = (name: string, include: string[], extra: Record<string, unknown> = {}) => ({
  test: { name, include, exclude: ['node_modules/**'], pool: 'forks' as const, ...extra },
});

/**
 * For files that leave nothing behind in their process: the modules under test are loaded once a worker, not once a file, which is a quarter of
 * the time of `npm run check`. The time limit is for a test that hangs, on a machine that does other things as well.
 */
const sharing = { isolate: false, testTimeout: 60_000, hookTimeout: 60_000 };

/** Start the program of a runner again and again, and wait for it: not part of `npm run check`. */
const withRunners = ['test/workflow/{credentials,recovery,runner}.test.ts', 'test/e2e/runner-*.test.ts'];

/** Start servers, commands and networks of their own, several seconds a file: not part of `npm run check`, which has a minute. */
const withServers = ['test/cli/{archives-elsewhere,remote}.test.ts', 'test/{sandbox/run-network,workflow/codec-check}.test.ts'];

const overTheWire = ['test/contract/*{aws,s3,dynamo}*.test.ts'];

export default defineConfig({
  test: {
    // Vitest's own choice leaves one processor free, which is half of a small machine.
    maxWorkers: availableParallelism(),
    projects: [
      project('unit', ['test/**/*.test.ts'], {
        exclude: [
          ...['node_modules/**', 'test/contract/**', 'test/golden/**', 'test/e2e/**', 'test/infra/**', 'test/account/**'],
          ...withRunners,
          ...withServers,
        ],
        ...sharing,
      }),
      project('servers', withServers, sharing),
      project('runners', withRunners, { testTimeout: 120_000, hookTimeout: 120_000, fileParallelism: false }),
      project('contract', ['test/contract/**/*.test.ts'], {
        exclude: ['node_modules/**', ...overTheWire],
        ...sharing,
      }),
      // The same suites on the AWS drivers, against a local AWS: not part of `npm run check`.
      project('contract-aws', overTheWire, {
        testTimeout: 60_000,
        hookTimeout: 60_000,
        globalSetup: ['test/support/aws-for-run.ts'],
      }),
      project('golden', ['test/golden/**/*.test.ts'], sharing),
      project('infra', ['test/infra/**/*.test.ts'], { testTimeout: 120_000, hookTimeout: 120_000 }),
      // Deploys the stack to a local AWS of its own: half a minute before the first test.
      project('account', ['test/account/**/*.test.ts'], {
        testTimeout: 180_000,
        hookTimeout: 240_000,
        globalSetup: ['test/support/programs-for-run.ts'],
      }),
      project('e2e', ['test/e2e/**/*.test.ts'], {
        exclude: ['node_modules/**', ...withRunners],
        testTimeout: 300_000,
        hookTimeout: 300_000,
        fileParallelism: false,
      }),
    ],
  },
});
