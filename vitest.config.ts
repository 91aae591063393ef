import { defineConfig } from 'vitest/config';

// One runner, one project per layer of tests, so that `npm run check` can leave out what needs real clients or a local AWS.
const project = (name: string, include: string[], extra: Record<string, unknown> = {}) => ({
  test: { name, include, exclude: ['node_modules/**'], pool: 'forks' as const, ...extra },
});

const overTheWire = ['test/contract/*{aws,s3,dynamo}*.test.ts'];

export default defineConfig({
  test: {
    projects: [
      project('unit', ['test/**/*.test.ts'], {
        exclude: ['node_modules/**', 'test/contract/**', 'test/golden/**', 'test/e2e/**', 'test/infra/**', 'test/account/**'],
      }),
      project('contract', ['test/contract/**/*.test.ts'], {
        exclude: ['node_modules/**', ...overTheWire],
        testTimeout: 60_000,
        hookTimeout: 60_000,
      }),
      // The same suites on the AWS drivers, against a local AWS: not part of `npm run check`.
      project('contract-aws', overTheWire, {
        testTimeout: 60_000,
        hookTimeout: 60_000,
        globalSetup: ['test/support/aws-for-run.ts'],
      }),
      project('golden', ['test/golden/**/*.test.ts']),
      project('infra', ['test/infra/**/*.test.ts'], { testTimeout: 120_000, hookTimeout: 120_000 }),
      // Deploys the stack to a local AWS of its own: half a minute before the first test.
      project('account', ['test/account/**/*.test.ts'], { testTimeout: 120_000, hookTimeout: 180_000, fileParallelism: false }),
      project('e2e', ['test/e2e/**/*.test.ts'], { testTimeout: 300_000, hookTimeout: 300_000, fileParallelism: false }),
    ],
  },
});
