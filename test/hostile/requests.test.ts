// Requests to the control API and words on the command line, damaged (test/support/mutate.ts says what must hold).
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { commands } from '../../cli/commands.ts';
import { type Home, openHome } from '../../local/home.ts';
import { allRoutes } from '../../shared/api/app.ts';
import { operations } from '../../shared/api/operations.ts';
import { cli } from '../support/cli.ts';
import { always, below, damagedBytes, damagedJson, damagedText, oneOf } from '../support/mutate.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

let folder: TempFolder;
let home: Home;
beforeAll(async () => {
  folder = await tempFolder();
  home = await openHome({ env: { SLIPWAY_HOME: join(folder.path, 'home'), HOME: folder.path }, now: Date.now, served: true });
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const good: readonly unknown[] = [
  {
    context: { kind: 'stored', id: 'c', project: 'p' },
    dockerfile: { name: 'Dockerfile', text: 'FROM scratch\nENV A=$b\n' },
    ignore: { name: '.dockerignore', text: '*.md' },
    tags: ['app:1'],
    target: 'x',
    buildArgs: { b: 'c', SOURCE_DATE_EPOCH: '1' },
    labels: { l: 'm' },
    platform: 'linux/amd64',
    network: 'none',
    noCache: false,
    noCacheFilter: ['a'],
    pull: false,
    clientToken: 't',
  },
  { target: 'localhost/app:2' },
  { names: ['app'], platform: 'linux/arm64' },
  { name: 'localhost:1/app', platform: 'linux/amd64', allTags: true },
  { digest: `sha256:${'0'.repeat(64)}`, size: 3, entries: [], project: 'p' },
];
const words = [
  'app',
  'p',
  'a/b',
  '..',
  '%2e%2e',
  '%',
  '%00',
  '%ff',
  `sha256:${'0'.repeat(64)}`,
  'sha256:',
  '',
  ' ',
  'x'.repeat(3000),
  '__proto__',
  '-1',
];
const values = [
  ...words,
  '0',
  '1',
  '1e9',
  'true',
  'dangling=true',
  'until=x',
  'before=',
  'CMD ["x"]',
  'RUN x',
  'linux/',
  '\ud800',
];

it('any request gets an answer that is no fault of ours', async () => {
  const routes = (await allRoutes(home.parts, { sameMachine: false })).filter(({ path }) => !/\/(pull|push)$/.test(path));
  expect(routes.length).toBeGreaterThan(15);
  await always(600, async (random, tell) => {
    const { method, path } = oneOf(random, routes);
    const filled = path.replace(/:[a-z]+\+?/gi, () => oneOf(random, words));
    const query = Array.from(
      { length: below(random, 3) },
      () =>
        `${oneOf(random, ['all', 'filter', 'after', 'limit', 'platform', 'name', 'change', 'source', 'force', 'size', 'project', 'x'])}=${encodeURIComponent(oneOf(random, values).toWellFormed())}`,
    ).join('&');
    let body: Uint8Array = Buffer.from(JSON.stringify(damagedJson(random, oneOf(random, good))));
    if (random() < 0.2) body = damagedBytes(random, body);
    tell([method, filled, query, Buffer.from(body).toString('latin1')]);
    const stop = new AbortController();
    const answer = await home.fetch({
      method,
      url: `http://home${filled}?${query}`,
      headers: {
        get: (name) =>
          ({ 'content-encoding': random() < 0.1 ? 'gzip' : null, 'last-event-id': random() < 0.1 ? 'x' : null })[name] ?? null,
      },
      body: (async function* () {
        yield body;
      })(),
      signal: stop.signal,
    });
    expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(500);
    const lines: string[] = [];
    if (answer.body instanceof Uint8Array) lines.push(Buffer.from(answer.body).toString());
    else for await (const chunk of answer.body ?? []) lines.push(Buffer.from(chunk).toString());
    expect(lines.join('')).not.toContain('"INTERNAL"');
  });
  expect(operations.length).toBeGreaterThan(15);
});

it('any words on the command line end in an exit code and no stack', async () => {
  const names = Object.keys(commands).filter((name) => !/serve|login|logout|context|builds|pull|push|doctor|run/.test(name));
  const pieces = [
    '--',
    '-',
    '=',
    '--format',
    '--json',
    '-f',
    '-q',
    '-t',
    '{{.ID}}',
    '@',
    ':',
    '/',
    '*',
    '\ud800',
    '\0',
    '',
    'app',
    '-1',
    '--filter',
    'label=',
    '--platform',
    '\u001b[2J',
  ];
  await always(400, async (random, tell) => {
    const argv = [...oneOf(random, names).split(' ')];
    for (let n = below(random, 5); n > 0; n--)
      argv.push(
        random() < 0.5 ? oneOf(random, pieces) : damagedText(random, oneOf(random, ['--no-trunc', 'app:1', '.']), pieces),
      );
    tell(argv);
    const { code, err } = await cli(argv, { home: join(folder.path, 'cli'), cwd: folder.path });
    expect([0, 1, 125]).toContain(code);
    expect(err).not.toMatch(/\n\s+at .*:\d+:\d+|INTERNAL|undefined/);
  });
});
