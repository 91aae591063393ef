import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { Io } from '../../cli/io.ts';
import { chooseProgress, type ProgressKind, progress } from '../../cli/progress.ts';
import type { BuildEvent } from '../../shared/build/events.ts';

function io(env: Record<string, string> = {}) {
  const stderr = new PassThrough();
  const world: Io = {
    stdin: new PassThrough(),
    stdout: new PassThrough(),
    stderr,
    env,
    cwd: '/',
    signal: new AbortController().signal,
    now: () => 5000,
  };
  return { world, text: () => String(stderr.read() ?? '') };
}

async function shown(kind: ProgressKind, events: readonly BuildEvent[]): Promise<string> {
  const { world, text } = io();
  const display = progress(kind, world);
  for (const event of events) await display.show(event);
  await display.end();
  return text();
}

const failing: readonly BuildEvent[] = [
  { type: 'started', id: 1, name: '[1/2] FROM busybox', at: 1000 },
  { type: 'done', id: 1, at: 1000, cached: true },
  { type: 'started', id: 2, name: '[2/2] RUN make', at: 1000 },
  { type: 'log', id: 2, stream: 'stdout', text: 'compi', at: 1100 },
  { type: 'log', id: 2, stream: 'stdout', text: 'ling\n50%\r100%\nno new', at: 1234 },
  { type: 'failed', id: 2, at: 2000, message: 'exit code: 2' },
  { type: 'error', at: 2000, failure: { code: 'STEP_FAILED', message: 'exit code: 2' } },
];

describe('plain progress', () => {
  it('prints whole lines with their time, and repeats what the failed step said', async () => {
    expect(await shown('plain', failing)).toBe(
      [
        '#1 [1/2] FROM busybox',
        '#1 CACHED',
        '',
        '#2 [2/2] RUN make',
        '#2 0.234 compiling',
        '#2 0.234 100%',
        '#2 1.000 no new',
        '#2 ERROR: exit code: 2',
        '',
        '------',
        ' > [2/2] RUN make:',
        'compiling',
        '100%',
        'no new',
        '------',
        '',
      ].join('\n'),
    );
  });

  it('says no more about a build that was cancelled', async () => {
    const events: BuildEvent[] = [
      ...failing.slice(0, 5),
      { type: 'error', at: 2000, failure: { code: 'CANCELLED', message: 'cancelled' } },
    ];
    expect(await shown('plain', events)).not.toContain('------');
  });
});

it('keeps quiet until something fails', async () => {
  expect(await shown('quiet', failing.slice(0, 5))).toBe('');
  expect(await shown('quiet', failing)).toContain('no new');
});

it('gives the events themselves as rawjson', async () => {
  const lines = (await shown('rawjson', failing)).trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toEqual(failing);
});

it('draws a display that ends with the final state', async () => {
  const text = await shown('tty', failing);
  expect(text).toContain('[+] Building 1.0s (2/2) FINISHED');
  expect(text).toContain('CACHED [1/2] FROM busybox');
  expect(text).toContain('ERROR [2/2] RUN make');
});

describe('choosing', () => {
  it.each([
    [undefined, false, {}, 'plain'],
    ['tty', false, {}, 'tty'],
    ['tty', true, {}, 'quiet'],
    [undefined, false, { BUILDKIT_PROGRESS: 'rawjson' }, 'rawjson'],
    ['nonsense', false, {}, undefined],
  ])('%s, quiet %s, env %j gives %s', (asked, quiet, env, kind) => {
    expect(chooseProgress(asked, quiet, io(env as Record<string, string>).world)).toBe(kind);
  });
});

it.each([
  [80, 24, 'tty'],
  [0, 0, 'tty'],
  [39, 24, 'plain'],
  [80, 9, 'plain'],
])('is the display on a terminal of %i columns and %i rows only if it fits: %s', (columns, rows, kind) => {
  const { world } = io();
  Object.assign(world.stderr, { isTTY: true, columns, rows });
  expect(chooseProgress(undefined, false, world)).toBe(kind);
});

it.each(['plain', 'tty'] as const)('a Dockerfile cannot move the cursor of who builds it: %s', async (kind) => {
  const text = await shown(kind, [
    { type: 'started', id: 1, name: '[1/1] RUN echo \u001b[2J\u009b1A\r\nover', at: 1000 },
    { type: 'failed', id: 1, at: 2000, message: 'exit code: 2' },
    { type: 'error', at: 2000, failure: { code: 'STEP_FAILED', message: 'exit code: 2' } },
  ]);
  expect(text).toContain('[1/1] RUN echo ');
  expect(text).not.toMatch(/\u001b\[2J|\u009b|\r/);
  expect(text).toContain(' over');
});

it('ends the display of a terminal with the ID of the image and its names, whole', async () => {
  const id = `sha256:${'a'.repeat(64)}`;
  const text = await shown('tty', [
    { type: 'started', id: 1, name: 'exporting to image', at: 1000 },
    { type: 'note', id: 1, text: `writing image ${id} done`, at: 1000 },
    { type: 'note', id: 1, text: 'naming to app:\u001b[2J1 done', at: 1000 },
    { type: 'done', id: 1, at: 1100 },
    { type: 'result', digest: id as `sha256:${string}`, tags: ['app:1'], at: 1100 },
  ]);
  expect(text).toContain(` => => writing image ${id} done\u001b[K\n => => naming to app:1 done\u001b[K\n`);
});
