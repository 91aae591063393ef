// The official conformance suite of the OCI distribution-spec, from the Go module proxy, against `slipway serve`'s registry: all four
// workflows (pull, push, content discovery, content management), the parts of the spec's next version included.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { attempt, installed } from '../support/command.ts';
import { serveFolder } from '../support/registry-process.ts';
import { scratch } from '../support/scratch.ts';

/** Pinned: the suite is tagged rarely, and what passes must not change by itself. */
const suite = 'github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111';
const why = (await installed('go')) ? undefined : 'Go is not installed';

test.skipIf(why !== undefined && !process.env.CI)(why === undefined ? 'conformance' : `conformance (${why})`, async () => {
  await using work = await scratch('slw-conf-');
  await using registry = await serveFolder(join(work.path, 'home'));
  const results = join(work.path, 'results');
  // The module proxy may fail once: that says nothing about the registry.
  for (let tries = 1; ; tries++) {
    const env = { GOFLAGS: '-buildvcs=false', GOBIN: work.path };
    const made = await attempt(['go', 'install', suite], { cwd: work.path, env });
    if (made.exitCode === 0) break;
    if (tries === 3) throw new Error(made.stderr.slice(-8000));
  }
  const run = await attempt([join(work.path, 'conformance')], {
    cwd: work.path,
    env: {
      OCI_REGISTRY: registry.host,
      OCI_TLS: 'disabled',
      OCI_REPO1: 'conformance/one',
      OCI_REPO2: 'conformance/two',
      OCI_VERSION: 'dev',
      OCI_API_BLOBS_UPLOAD_CANCEL: 'true',
      OCI_API_BLOBS_DIGEST_HEADER: 'true',
      OCI_API_MANIFESTS_DIGEST_HEADER: 'true',
      OCI_API_MANIFESTS_TAG_PARAM: 'true',
      OCI_RESULTS_DIR: results,
      OCI_LOG: 'error',
    },
  });
  const said = `${run.stdout}\n${run.stderr}`;
  if (run.exitCode !== 0) throw new Error(said.slice(-8000));
  const count = (name: string) => Number(new RegExp(`^\\s*${name}\\.+:\\s+(\\d+)`, 'm').exec(said)?.[1]);
  expect(count('FAIL')).toBe(0);
  expect(count('Error')).toBe(0);
  expect(count('Total')).toBeGreaterThan(900);
  const api = /API conformance:\n([\s\S]*?)\n\n/.exec(said)?.[1] ?? '';
  const features = api.split('\n').map((line) => line.trim());
  expect(features.length).toBeGreaterThan(20);
  expect(features.filter((line) => !line.endsWith('Pass'))).toEqual([]);
  expect(await readFile(join(results, 'junit.xml'), 'utf8')).toContain('<testsuite');
  expect(registry.faults()).toBe('');
});
