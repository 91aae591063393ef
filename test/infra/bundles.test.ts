// The functions as they are deployed: small where somebody waits for them, and whole. How long they take to load is bench/functions.ts's.
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesLimit, complaints, pulling } from '../../bench/function-limits.ts';
import { type Bundled, bundleProgram, programFolders } from '../../infra/program-bundle.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

let folder: TempFolder;
const bundles = new Map<string, Bundled>();

beforeAll(async () => {
  folder = await tempFolder();
  for (const name of programFolders()) {
    mkdirSync(join(folder.path, name));
    bundles.set(name, bundleProgram(name, join(folder.path, name)));
  }
});
afterAll(() => folder[Symbol.asyncDispose]());

const sizeOf = (name: string): number => statSync(join(folder.path, name, 'handler.js')).size;

describe('the functions of a pull', () => {
  test.each(pulling)('%s is small and holds nothing that a pull does not need', (name) => {
    expect(complaints(name, sizeOf(name), bundles.get(name)!.files)).toEqual([]);
  });

  test('would be found out', () => {
    const api = bundles.get('api')!.files;
    const found = complaints('registry', bytesLimit + 1, api).join('\n');
    expect(found).toContain('more than');
    expect(found).toContain('shared/build/');
  });
});

describe('every program', () => {
  test('needs nothing beside it but its threads', () => {
    for (const [name, { metafile, workers }] of bundles) {
      const made = readdirSync(join(folder.path, name));
      for (const worker of workers) expect(made, name).toContain(`${worker}.js`);
      const outside = Object.values(metafile.outputs)
        .flatMap(({ imports }) => imports.map(({ path }) => path))
        .filter((path) => !path.startsWith('node:') && !builtin.test(path));
      expect(outside, name).toEqual([]);
    }
  });

  test('has the threads that it starts, by their names', () => {
    const stage = bundles.get('stage')!;
    expect(stage.workers).toContain('compress-worker');
    for (const worker of stage.workers) {
      expect(readFileSync(join(folder.path, 'stage', 'handler.js'), 'utf8')).toContain(`./${worker}.js`);
    }
    expect(bundles.get('registry')!.workers).toEqual([]);
    expect(readdirSync(join(folder.path, 'runner'))).toContain('Dockerfile');
  });
});

/** Built-in modules by their old names, as the SDK calls them. */
const builtin =
  /^(?:assert|async_hooks|buffer|child_process|crypto|dns|events|fs|fs\/promises|http|http2|https|net|os|path|perf_hooks|process|querystring|stream|stream\/.+|string_decoder|tls|tty|url|util|util\/types|v8|vm|worker_threads|zlib)$/;
