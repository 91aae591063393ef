// The rules of the build cache (features F66 to F75), each as: build, change one thing, build again, and see what was made again.
import { chmod, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SlipwayError } from '../../shared/errors.ts';
import { parseTarget } from '../../shared/oci/reference.ts';
import { type Ask, type BuildHome, buildHome } from '../support/build-home.ts';

let home: BuildHome;
beforeEach(async () => {
  home = await buildHome();
  await home.file('a.txt', 'a');
  await home.file('src/one.txt', '1');
  await home.file('src/two.txt', '2');
  await home.file('other/ignored.log', 'noise');
});
afterEach(async () => {
  expect(home.leftovers()).toEqual([]);
  await home[Symbol.asyncDispose]();
});

interface Row {
  readonly rule: string;
  readonly before: string;
  readonly after?: string;
  readonly ask?: Ask;
  readonly askAfter?: Ask;
  readonly change?: (at: (path: string) => string) => Promise<unknown>;
  /** Steps that are made again. */
  readonly again: readonly string[];
}

const run = 'RUN write /r 1';
const copy = 'COPY src /src';
const after = 'RUN write /after 1';
const arg = (value: string): Ask => ({ buildArgs: { A: value } });

const rows: readonly Row[] = [
  { rule: 'nothing changed', before: `FROM scratch\n${run}\n${copy}\nWORKDIR /w\n${after}`, again: [] },
  {
    rule: 'F66 a changed step and all after it',
    before: `FROM scratch\nRUN write /x 1\n${copy}\n${after}`,
    after: `FROM scratch\nRUN write /x 2\n${copy}\n${after}`,
    again: ['RUN write /x 2', copy, after],
  },
  {
    rule: 'F66 a step that yields equal content does not spread',
    before: `FROM scratch\nENV SOURCE_DATE_EPOCH=0\nRUN write /x 1\nCOPY a.txt /n`,
    after: `FROM scratch\nENV SOURCE_DATE_EPOCH=0\nRUN write /x   1\nCOPY a.txt /n`,
    ask: { buildArgs: { SOURCE_DATE_EPOCH: '1000000000' } },
    askAfter: { buildArgs: { SOURCE_DATE_EPOCH: '1000000000' } },
    again: ['RUN write /x   1'],
  },
  {
    rule: 'F66 stages that do not depend on it still hit',
    before: `FROM scratch AS one\nRUN write /one 1\nFROM scratch AS two\nRUN write /two 1\nFROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /`,
    after: `FROM scratch AS one\nRUN write /one 2\nFROM scratch AS two\nRUN write /two 1\nFROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /`,
    again: ['RUN write /one 2', 'COPY --from=one /one /', 'COPY --from=two /two /'],
  },
  {
    rule: 'F67 comments, blank lines and continuations',
    before: `FROM scratch\nENV a=1 b=2\n${copy}\n${run}`,
    after: `# a comment\n\nFROM scratch\n# another\nENV a=1 \\\n  b=2\n\nCOPY \\\n  # inside\n  src /src\n${run}`,
    again: [],
  },
  {
    rule: 'F67 what a variable expands to counts',
    before: `FROM scratch\nARG A\nCOPY $A /x`,
    ask: arg('a.txt'),
    askAfter: arg('src/one.txt'),
    again: ['COPY $A /x'],
  },
  {
    rule: 'F68 touch',
    before: `FROM scratch\n${copy}\n${after}`,
    change: (at) => utimes(at('src/one.txt'), 2_000_000_000, 2_000_000_000),
    again: [],
  },
  {
    rule: 'F68 chmod',
    before: `FROM scratch\n${copy}\n${after}`,
    change: (at) => chmod(at('src/one.txt'), 0o755),
    again: [copy, after],
  },
  {
    rule: 'F68 rename',
    before: `FROM scratch\n${copy}`,
    change: (at) => rename(at('src/one.txt'), at('src/three.txt')),
    again: [copy],
  },
  { rule: 'F68 delete', before: `FROM scratch\n${copy}`, change: (at) => rm(at('src/one.txt')), again: [copy] },
  {
    rule: 'F68 content of equal size',
    before: `FROM scratch\n${copy}`,
    change: () => home.file('src/one.txt', '!'),
    again: [copy],
  },
  {
    rule: 'F68 a new file in a copied directory',
    before: `FROM scratch\n${copy}`,
    change: () => home.file('src/three.txt', '3'),
    again: [copy],
  },
  {
    rule: 'F68 a file that is not copied',
    before: `FROM scratch\n${copy}`,
    change: () => home.file('a.txt', 'changed'),
    again: [],
  },
  {
    rule: 'F68 an ignored file',
    before: 'FROM scratch\nCOPY . /all',
    ask: { ignore: '**/*.log\n' },
    askAfter: { ignore: '**/*.log\n' },
    change: () => home.file('other/ignored.log', 'changed'),
    again: [],
  },
  {
    rule: 'F69 the user',
    before: `FROM scratch\nUSER 1\n${run}`,
    after: `FROM scratch\nUSER 2\n${run}`,
    again: [run],
  },
  {
    rule: 'F69 the network',
    before: `FROM scratch\n${run}`,
    askAfter: { network: 'none' },
    again: [run],
  },
  {
    rule: 'F70 ARG misses at its first use',
    before: 'FROM scratch\nRUN write /before 1\nARG A\nCOPY a.txt /\nRUN write /after 1',
    ask: arg('1'),
    askAfter: arg('2'),
    again: ['RUN write /after 1'],
  },
  {
    rule: 'F70 ARG below what would use it',
    before: 'FROM scratch\nRUN write /x 1\nARG A',
    ask: arg('1'),
    askAfter: arg('2'),
    again: [],
  },
  {
    rule: 'F70 an ENV of the same name covers the ARG',
    before: 'FROM scratch\nARG A\nENV A=fixed\nRUN env A /x',
    ask: arg('1'),
    askAfter: arg('2'),
    again: [],
  },
  {
    rule: 'F70 proxy arguments are seen but do not count',
    before: 'FROM scratch\nRUN env http_proxy /x',
    ask: { buildArgs: { http_proxy: 'http://one' } },
    askAfter: { buildArgs: { http_proxy: 'http://two' } },
    again: [],
  },
  {
    rule: 'F71 LABEL, CMD, EXPOSE',
    before: `FROM scratch\nLABEL a=1\nCMD one\nEXPOSE 80\n${run}`,
    after: `FROM scratch\nLABEL a=2\nCMD two\nEXPOSE 81\nVOLUME /v\nHEALTHCHECK NONE\n${run}`,
    again: [],
  },
  {
    rule: 'F71 ENV',
    before: `FROM scratch\nENV a=1\n${run}`,
    after: `FROM scratch\nENV a=2\n${run}`,
    again: [run],
  },
  {
    rule: 'F71 ENV does not re-run COPY',
    before: `FROM scratch\nENV a=1\n${copy}`,
    after: `FROM scratch\nENV a=2\n${copy}`,
    again: [],
  },
  { rule: 'F73 --no-cache', before: `FROM scratch\n${run}\n${copy}`, askAfter: { noCache: true }, again: [run, copy] },
  {
    rule: 'F74 COPY --from counts what is copied, not the rest of the stage',
    before: 'FROM scratch AS b\nRUN write /out/x 1; write /rest 1\nFROM scratch\nCOPY --from=b /out /out\nRUN write /after 1',
    after: 'FROM scratch AS b\nRUN write /out/x 1; write /rest 2\nFROM scratch\nCOPY --from=b /out /out\nRUN write /after 1',
    again: ['RUN write /out/x 1; write /rest 2'],
  },
  {
    rule: 'COPY to another place',
    before: `FROM scratch\nCOPY a.txt /one`,
    after: `FROM scratch\nCOPY a.txt /two`,
    again: ['COPY a.txt /two'],
  },
  {
    rule: 'COPY --link does not depend on what is below',
    before: `FROM scratch\nRUN write /x 1\nCOPY --link a.txt /`,
    after: `FROM scratch\nRUN write /x 2\nCOPY --link a.txt /`,
    again: ['RUN write /x 2'],
  },
  {
    rule: 'a here-document that a command reads',
    before: `FROM scratch\nCOPY <<EOF /x\none\nEOF`,
    after: `FROM scratch\nCOPY <<EOF /x\ntwo\nEOF`,
    again: ['COPY <<EOF /x'],
  },
];

describe('the cache', () => {
  it.each(rows)('$rule', async ({ before, after, ask = {}, askAfter = ask, change, again }) => {
    const first = await home.build(before, ask);
    expect(first.error).toBeUndefined();
    expect(first.cached).toEqual([]);
    home.advance(3600_000);
    await change?.((path) => join(home.context, path));
    const ran = home.sandbox.ran.length;
    const second = await home.build(after ?? before, askAfter);
    expect(second.error).toBeUndefined();
    expect([...second.made].sort()).toEqual([...again].sort());
    expect(home.sandbox.ran.length - ran).toBe(again.filter((step) => step.startsWith('RUN')).length);
  });

  it('gives the same image from the cache, at another time', async () => {
    const dockerfile = `FROM scratch\nENV a=1\n${run}\n${copy}\nWORKDIR /w\nCMD x`;
    const first = await home.build(dockerfile);
    home.advance(86_400_000);
    expect((await home.build(dockerfile)).digest).toBe(first.digest);
  });

  it('stacks layers that are equal', async () => {
    const { error, digest } = await home.build(
      'FROM scratch\nRUN write /x 1\nRUN print a\nRUN print b\nRUN print c\nRUN print d',
    );
    expect(error).toBeUndefined();
    expect(digest).toBeDefined();
    // What each step saw below itself: the layer of /x, and above it the one empty layer, however often it is there.
    expect(home.sandbox.specs.map(({ root }) => (root.kind === 'overlay' ? root.lowers.length : -1))).toEqual([0, 1, 2, 2, 2]);
  });

  it('F75 keeps what was finished before a failure', async () => {
    const failed = await home.build(`FROM scratch\n${run}\n${copy}\nRUN exit 1`);
    expect(failed.error).toMatchObject({ code: 'STEP_FAILED', where: { start: { line: 4 } } });
    const mended = await home.build(`FROM scratch\n${run}\n${copy}\nRUN write /now works`);
    expect(mended).toMatchObject({ cached: [run, copy], made: ['RUN write /now works'] });
  });

  it('is not used with --no-cache, but filled', async () => {
    await home.build(`FROM scratch\n${run}`, { noCache: true });
    expect((await home.build(`FROM scratch\n${run}`)).cached).toEqual([run]);
  });

  it('makes again what was cached and is lost', async () => {
    const dockerfile = `FROM scratch\n${run}\n${copy}`;
    const first = await home.build(dockerfile, { buildArgs: { SOURCE_DATE_EPOCH: '1000000000' } });
    // Everything: layers, tables of contents, config, manifest.
    for (const { digest } of await home.blobs.list({ limit: 1000 })) await home.blobs.delete(digest);
    const second = await home.build(dockerfile, { buildArgs: { SOURCE_DATE_EPOCH: '1000000000' } });
    expect(second.error).toBeUndefined();
    expect(second.made).toEqual([run, copy]);
    expect(second.digest).toBe(first.digest);
  });
});

describe('a layer on its way into the store', () => {
  it('lets the next RUN begin, and fails the build as the step that made it', async () => {
    home.whileStoring(async () => {
      home.whileStoring(async () => undefined);
      await home.sandbox.said('second');
      throw new SlipwayError('DISK_FULL', 'no space left');
    });
    const dockerfile = `FROM scratch\n${run}\nRUN say second; write /2 2`;
    // Without an epoch the first layer made again has the time of another second at times, and then is another layer.
    const ask: Ask = { buildArgs: { SOURCE_DATE_EPOCH: '1000000000' } };
    const built = await home.build(dockerfile, ask);
    expect(built.error).toMatchObject({ code: 'DISK_FULL', where: { start: { line: 2 } } });
    expect(home.sandbox.ran).toHaveLength(2);
    // What was not stored is in no cache.
    expect(await home.build(dockerfile, ask)).toMatchObject({ made: [run], cached: ['RUN say second; write /2 2'] });
  });

  it('is waited for by a RUN that has to unpack it, and by the end of the build', async () => {
    const gates: PromiseWithResolvers<void>[] = [];
    home.whileStoring(() => {
      gates.push(Promise.withResolvers());
      return gates.at(-1)!.promise;
    });
    const building = home.build(`FROM scratch\n${copy}\nRUN write /2 2`, { tags: ['app'] });
    await expect.poll(() => gates.length, { timeout: 30_000 }).toBe(1);
    expect(home.sandbox.ran).toHaveLength(0);
    gates[0]!.resolve();
    await expect.poll(() => gates.length, { timeout: 30_000 }).toBe(2);
    expect(home.sandbox.ran).toHaveLength(1);
    const { repository, tag } = parseTarget('app');
    expect(await home.catalog.resolve(repository, tag)).toBeUndefined();
    gates[1]!.resolve();
    expect((await building).error).toBeUndefined();
    expect(await home.catalog.resolve(repository, tag)).toBeDefined();
  });
});

describe('a failing step', () => {
  it('is named with its line, its exit code and its words', async () => {
    const { error, failed, output } = await home.build('FROM scratch\n\n# why\nRUN print some words; exit 7\nRUN write /never 1');
    expect(error).toEqual({
      code: 'STEP_FAILED',
      message: 'process "/bin/sh -c print some words; exit 7" did not complete successfully: exit code: 7',
      where: { file: 'Dockerfile', start: { line: 4, column: 1 }, end: { line: 4, column: 28 } },
      details: { exitCode: 7, step: 'RUN print some words; exit 7' },
    });
    expect(failed).toEqual(['RUN print some words; exit 7']);
    expect(output).toBe('some words\n');
    expect(home.sandbox.ran).toHaveLength(1);
  });

  it.each([
    ['COPY missing /', /"\/missing": not found$/],
    ['COPY --from=b /missing /', /"\/missing": not found$/],
    ['COPY --chown=nobody a.txt /', /nobody/],
    ['USER nobody\nRUN write /x 1', /^USER nobody: /],
    ['USER nobody\nWORKDIR /x', /^USER nobody: no user "nobody"/],
  ])('%s is told at its line', async (steps, message) => {
    const { error } = await home.build(`FROM scratch AS b\nRUN write /x 1\nFROM scratch\n${steps}`);
    // An error of the build: none of those that stand for docker run's own exit codes.
    expect(error?.code).not.toMatch(/^RUN_/);
    expect(error?.message).toMatch(message);
    expect(error?.where?.start.line).toBe(3 + steps.split('\n').length);
  });
});
