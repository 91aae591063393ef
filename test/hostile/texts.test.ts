// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are substitutions of a Dockerfile
// Texts that people and registries write, damaged (test/support/mutate.ts says what must hold).
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseTemplate } from '../../cli/template.ts';
import { planBuild } from '../../shared/build/planner.ts';
import { parseChallenges } from '../../shared/client/challenge.ts';
import { Ignore, parseIgnore } from '../../shared/context/ignore.ts';
import { parseConfig } from '../../shared/oci/config.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { parseManifestOrIndex } from '../../shared/oci/manifest.ts';
import { parsePlatform } from '../../shared/oci/platform.ts';
import { canonical, parseReference } from '../../shared/oci/reference.ts';
import { always, damagedBytes, damagedJson, damagedText, oneOf } from '../support/mutate.ts';

const golden = join(import.meta.dirname, '../golden');
const dockerfiles = readdirSync(golden, { recursive: true, encoding: 'utf8' })
  .filter((file) => /\/Dockerfile[^/]*$/.test(file))
  .map((file) => readFileSync(join(golden, file), 'utf8'));
const config = { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers' as const, diff_ids: [] } };

it('Dockerfiles', async () => {
  const pieces = [
    ...[
      '\n',
      '\\\n',
      '\r\n',
      ' ',
      '\t',
      '$',
      '${',
      '}',
      '${a:-',
      '${a/b/c}',
      '${a##*}',
      '"',
      "'",
      '<<E\n',
      '<<-"E"\nx\nE\n',
      '[',
    ],
    ...[
      '["',
      '"]',
      ',',
      '--',
      '--from=',
      '--mount=type=',
      '# syntax=x\n',
      '# escape=`\n',
      '\0',
      '\ufeff',
      '\u2028',
      'FROM ',
      'ONBUILD ',
    ],
    ...['RUN ', 'COPY ', 'ARG a=', 'ENV ', ' AS ', '99999999999', '-', '*', '..', '/', ':', '@', '='],
  ];
  await always(400, async (random, tell) => {
    const text = damagedText(random, oneOf(random, dockerfiles), pieces);
    tell(text);
    await planBuild(
      {
        dockerfile: { name: 'Dockerfile', text },
        buildArgs: { a: '$b', b: '${a}' },
        platform: { os: 'linux', architecture: 'amd64' },
      },
      { resolveImage: async (name) => ({ name, digest: sha256(name), config }) },
    );
  });
});

const digest = sha256('x');
const descriptor = (mediaType: string, more: object = {}) => ({ mediaType, digest, size: 3, ...more });
const manifest = {
  schemaVersion: 2,
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  artifactType: 'application/x',
  config: descriptor('application/vnd.oci.image.config.v1+json', { data: 'eHh4', urls: ['https://x'] }),
  layers: [descriptor('application/vnd.oci.image.layer.v1.tar+gzip', { annotations: { a: 'b' } })],
  subject: descriptor('application/vnd.oci.image.manifest.v1+json'),
  annotations: { a: 'b' },
};
const index = {
  schemaVersion: 2,
  mediaType: 'application/vnd.oci.image.index.v1+json',
  manifests: [
    descriptor(manifest.mediaType, {
      platform: { os: 'linux', architecture: 'arm', variant: 'v7', 'os.version': '1', 'os.features': ['a'] },
    }),
  ],
};
const image = {
  ...config,
  created: '2026-01-01T00:00:00Z',
  author: 'a',
  config: {
    ...{ Env: ['A=b'], Cmd: ['x'], Entrypoint: ['y'], ExposedPorts: { '80/tcp': {} }, Volumes: { '/v': {} }, WorkingDir: '/' },
    ...{ User: '1:2', Labels: { a: 'b' }, OnBuild: ['RUN x'], StopSignal: 'TERM', Shell: ['sh'] },
    Healthcheck: { Test: ['CMD', 'x'], Interval: 1, Timeout: 2, StartPeriod: 3, Retries: 4 },
  },
  rootfs: { type: 'layers', diff_ids: [digest] },
  history: [{ created: '2026-01-01T00:00:00Z', created_by: 'x', empty_layer: true, comment: 'c' }],
};

describe('documents', () => {
  it.each([
    ['manifests', manifest, (bytes: Uint8Array) => parseManifestOrIndex(bytes)],
    ['indexes', index, (bytes: Uint8Array) => parseManifestOrIndex(bytes)],
    ['configs', image, (bytes: Uint8Array) => parseConfig(bytes)],
  ] as const)('%s', async (_, document, parse) => {
    parse(Buffer.from(JSON.stringify(document)));
    await always(1500, (random, tell) => {
      let bytes: Buffer = Buffer.from(JSON.stringify(damagedJson(random, document)));
      if (random() < 0.3) bytes = damagedBytes(random, bytes);
      tell(bytes.toString('latin1'));
      parse(bytes);
    });
    expect(({} as Record<string, unknown>).a).toBeUndefined();
  });
});

it('references, platforms, challenges and templates', async () => {
  const seeds = [
    `reg.example:5000/team/app:1.2@${digest}`,
    'app',
    'localhost/a/b',
    '[::1]:5000/x',
    'linux/arm/v7',
    'windows(10.0)/amd64',
  ];
  const challenges = ['Bearer realm="https://x/y",service="s",scope="a:b:c"', 'Basic realm="x", Bearer realm=y'];
  const templates = [
    '{{range .A}}{{.B | json}}{{end}}',
    '{{if and .A (eq .B "x")}}y{{else}}z{{end}}',
    'table {{.ID}}\t{{index .L "a"}}',
  ];
  const pieces = [
    '/',
    ':',
    '@',
    '.',
    '..',
    '__',
    '-',
    '"',
    '\\',
    ',',
    '=',
    ' ',
    '{{',
    '}}',
    '(',
    ')',
    '|',
    '$',
    '[',
    ']',
    'A',
    '\0',
    '\ud800',
    'é',
  ];
  await always(3000, (random, tell) => {
    const text = damagedText(random, oneOf(random, seeds), pieces);
    tell(text);
    const reference = parseReference(text);
    expect(parseReference(canonical(reference))).toMatchObject({ path: reference.path, host: reference.host });
  });
  await always(1000, (random) => parsePlatform(damagedText(random, oneOf(random, seeds), pieces)));
  await always(1000, (random) => parseChallenges(damagedText(random, oneOf(random, challenges), pieces)));
  await always(1000, (random, tell) => {
    const text = damagedText(random, oneOf(random, templates), pieces);
    tell(text);
    parseTemplate(text);
  });
});

it('ignore files', async () => {
  const seeds = ['**/node_modules\n!**/keep/**\n*.md\n!README*\n/a/../b\n', '#c\n[a-z]?x\\*\n**/*.[ch]\n', '!\n/\n.\n**\n'];
  const pieces = [
    '**/',
    '*',
    '**',
    '?',
    '[',
    ']',
    '[^',
    'a-',
    '\\',
    '!',
    '/',
    '\n',
    '..',
    'a*a*a*a*a*a*a*b',
    '**/**/**/**/x',
    '\0',
    '\ufeff',
    'é',
  ];
  const paths = [
    'a',
    'a/b/c',
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    `${'x/'.repeat(50)}y`,
    'node_modules/a/keep/b',
    '[',
    '*',
    '\\',
  ];
  await always(600, (random, tell) => {
    const text = damagedText(random, oneOf(random, seeds), pieces);
    tell(text);
    const ignore = new Ignore('.dockerignore', parseIgnore(text));
    for (const path of paths) ignore.patterns.excludesFromRoot(path);
  });
});
