// The same Dockerfile built by Slipway, by docker's classic builder, by its BuildKit and by buildah gives equal trees and configs. The
// peers are held against each other first: that proves the tool, and the table of known differences beside it.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { busyboxImage, debianImage, fixtureImage, onbuildImage } from '../support/base-images.ts';
import type { Builder, BuilderName } from '../support/builder.ts';
import { buildAndRead, buildCase, type CompareCase, compare, compareCases, makeContext } from '../support/compare.ts';
import { type FileServer, serveFiles } from '../support/file-server.ts';
import { janitor } from '../support/janitor.ts';
import { type KnownDifference, knownDifferences } from '../support/known-differences.ts';
import { buildahMissing, dockerMissing, openStore, startDocker } from '../support/peers.ts';
import { whyNoRoot } from '../support/roots.ts';
import { type Scratch, scratch } from '../support/scratch.ts';
import { slipwayBuilder, slipwayMissing } from '../support/slipway.ts';
import { describeDifference, type ImageSnapshot, inconsistencies } from '../support/tree.ts';

const missing = {
  docker: await dockerMissing(),
  buildah: await buildahMissing(),
  slipway: await slipwayMissing(),
  bases: whyNoRoot('busybox') ?? whyNoRoot('debian'),
};
/** On a laptop a missing tool skips its part with the reason; where everything has to be there, it fails. */
const required = Boolean(process.env.CI);
const cases = await compareCases();

describe.skipIf(missing.bases !== undefined && !required)(
  `builders compared${missing.bases ? ` (${missing.bases})` : ''}`,
  () => {
    const builders: Builder[] = [];
    const closing: AsyncDisposable[] = [];
    const used = new Set<KnownDifference>();
    const compared = new Set<string>();
    let folder: Scratch;
    let server: FileServer;

    beforeAll(async () => {
      folder = await scratch('slw-');
      server = await serveFiles({ '/plain.txt': 'plain\n', '/archive.tar.gz': 'no archive\n', '/sub/other.bin': 'other\n' });
      const clearing = janitor(folder.path);
      closing.push({ [Symbol.asyncDispose]: async () => clearing.release() }, folder, server);
      if (missing.docker === undefined || required) {
        const docker = await startDocker(join(folder.path, 'dk'));
        closing.push(docker);
        builders.push(docker.builder('buildkit'), docker.builder('classic'));
      }
      if (missing.buildah === undefined || required) {
        const store = await openStore(join(folder.path, 'st'));
        closing.push(store);
        builders.push(store.builder('buildah'));
      }
      if (missing.slipway === undefined || required) builders.push(slipwayBuilder(join(folder.path, 'home')));
      const images = [await busyboxImage(), await debianImage(), await fixtureImage(), await onbuildImage()];
      await Promise.all(
        // Both builders of the daemon share its images.
        builders
          .filter((builder) => builder.name !== 'classic')
          .map(async (builder) => {
            for (const image of images) {
              const loaded = await builder.load(image.archive);
              if (loaded.exitCode !== 0) throw new Error(`${builder.name} cannot load ${image.reference}:\n${loaded.output}`);
            }
          }),
      );
    });

    afterAll(async () => {
      for (const resource of closing.reverse()) await resource[Symbol.asyncDispose]();
    });

    const builtCase = (test: CompareCase) =>
      describe(`${test.name}: ${test.about}`, () => {
        const images = new Map<BuilderName, ImageSnapshot>();
        const failures = new Map<BuilderName, unknown>();

        beforeAll(async () => {
          const context = join(folder.path, 'contexts', test.name);
          await makeContext(test, context);
          const taking = builders.filter((builder) => test.without?.[builder.name] === undefined);
          // Side by side: none of them keeps a processor busy by itself.
          const read = await Promise.allSettled(taking.map((builder) => buildAndRead(test, builder, context, server.url)));
          for (const [i, { name }] of taking.entries()) {
            const outcome = read[i]!;
            if (outcome.status === 'fulfilled') images.set(name, outcome.value);
            else failures.set(name, outcome.reason);
          }
          compared.add(test.name);
        });

        const equal = (left: BuilderName, right: BuilderName) => {
          for (const name of [left, right]) if (failures.has(name)) throw failures.get(name);
          const [a, b] = [images.get(left), images.get(right)];
          if (a === undefined || b === undefined) return false;
          const { unexpected, known } = compare(test.name, [left, a], [right, b]);
          for (const { because } of known) used.add(because);
          expect(unexpected.map(describeDifference), `${left} | ${right}`).toEqual([]);
          return true;
        };

        it('the peers agree', () => {
          equal('buildkit', 'classic');
          equal('buildkit', 'buildah');
          equal('classic', 'buildah');
        });

        const left = test.without?.slipway ?? (required ? undefined : missing.slipway);
        it.skipIf(left !== undefined)(`slipway agrees with every peer${left === undefined ? '' : ` (${left})`}`, () => {
          if (failures.has('slipway')) throw failures.get('slipway');
          for (const peer of ['buildkit', 'classic', 'buildah'] as const) equal('slipway', peer);
          const image = images.get('slipway')!;
          expect(inconsistencies(image)).toEqual([]);
          expect(image.notes).toEqual([]);
        });
      });

    const refusedCase = (test: CompareCase) =>
      describe(`${test.name}: ${test.about}`, () => {
        let context: string;
        beforeAll(async () => {
          context = join(folder.path, 'contexts', test.name);
          await makeContext(test, context);
        });
        for (const [file, without] of Object.entries(test.refused ?? {}))
          it(file, async () => {
            const taking = builders.filter((builder) => without[builder.name] === undefined);
            const built = await Promise.all(taking.map((builder) => buildCase(test, builder, context, server.url, file)));
            expect(taking.filter((_, i) => built[i]?.exitCode === 0).map((builder) => builder.name)).toEqual([]);
            // Ours is a message, not a stack, and never the code that says that the command line was wrong.
            const ours = built[taking.findIndex((builder) => builder.name === 'slipway')];
            expect(ours?.output ?? '').not.toMatch(/\n\s+at .*:\d+:\d+/);
            expect(ours?.exitCode ?? 1).toBe(1);
          });
      });

    for (const test of cases) (test.refused === undefined ? builtCase : refusedCase)(test);

    it('every known difference still is one', () => {
      const all = cases.filter((test) => test.refused === undefined).every((test) => compared.has(test.name));
      const everyone = ['slipway', 'buildkit', 'classic', 'buildah'].every((name) =>
        builders.some((builder) => builder.name === name),
      );
      // A run of some cases, or without some builder, cannot tell.
      if (!all || !everyone) return;
      expect(knownDifferences.filter((entry) => !used.has(entry)).map((entry) => entry.reason)).toEqual([]);
    });
  },
);
