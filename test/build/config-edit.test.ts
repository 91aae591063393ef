import { describe, expect, test } from 'vitest';
import { applyEdit, defaultPath, splitEnv, startConfig, withHistory } from '../../shared/build/config-edit.ts';
import { goQuote, healthText, runText } from '../../shared/build/history-text.ts';
import type { ImageConfig } from '../../shared/oci/config.ts';

const platform = { os: 'linux', architecture: 'arm64' };

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) for (const member of Object.values(Object.freeze(value))) freeze(member);
  return value;
}

const base = freeze({
  architecture: 'arm64',
  os: 'linux',
  variant: 'v8',
  created: '2020-01-01T00:00:00Z',
  author: 'them',
  'x-unknown': { kept: true },
  rootfs: { type: 'layers', diff_ids: [] },
  config: {
    Env: ['A=1', 'PATH=/bin', 'EMPTY='],
    Cmd: ['sh'],
    Labels: { a: '1', b: '2' },
    ExposedPorts: { '80/tcp': {} },
    OnBuild: ['RUN x'],
    'X-Unknown': 1,
  },
  history: [{ created_by: 'before' }],
} as const) as unknown as ImageConfig;

describe('applyEdit', () => {
  test('Env is replaced in place and appended in order', () => {
    const { config } = applyEdit(base, {
      env: [
        ['EMPTY', 'full'],
        ['NEW', '2'],
        ['A', '3'],
        ['NEW', '4'],
      ],
    });
    expect(config?.Env).toEqual(['A=3', 'PATH=/bin', 'EMPTY=full', 'NEW=4']);
  });

  test('names are merged, the rest is kept, members we do not know too', () => {
    const edited = applyEdit(base, {
      labels: [
        ['b', '3'],
        ['__proto__', 'x'],
      ],
      ports: ['53/udp'],
      volumes: ['/v'],
      onbuild: ['RUN y'],
      author: 'me',
      set: { User: 'u' },
      unset: ['Cmd'],
      healthcheck: { Test: ['NONE'] },
    });
    expect(edited).toMatchObject({ author: 'me', 'x-unknown': { kept: true }, history: [{ created_by: 'before' }] });
    expect(Object.entries(edited.config?.Labels ?? {})).toEqual([
      ['a', '1'],
      ['b', '3'],
      ['__proto__', 'x'],
    ]);
    expect(edited.config).toMatchObject({
      ExposedPorts: { '80/tcp': {}, '53/udp': {} },
      Volumes: { '/v': {} },
      OnBuild: ['RUN x', 'RUN y'],
      User: 'u',
      Healthcheck: { Test: ['NONE'] },
      'X-Unknown': 1,
    });
    expect(edited.config).not.toHaveProperty('Cmd');
    expect(base.config?.Cmd).toEqual(['sh']);
  });

  test('an empty edit changes nothing', () => {
    expect(applyEdit(base, {})).toEqual(base);
  });
});

describe('withHistory', () => {
  test('adds a row; no row for a step without one', () => {
    expect(withHistory(base, { createdBy: 'ENV a=1', created: '2024-01-01T00:00:00Z', empty: true }).history).toEqual([
      { created_by: 'before' },
      { created: '2024-01-01T00:00:00Z', created_by: 'ENV a=1', comment: 'buildkit.dockerfile.v0', empty_layer: true },
    ]);
    expect(withHistory(base, { createdBy: 'COPY a b', empty: false }).history?.at(-1)).toEqual({
      created_by: 'COPY a b',
      comment: 'buildkit.dockerfile.v0',
    });
    expect(withHistory(base, { createdBy: '', empty: true })).toBe(base);
  });
});

describe('startConfig', () => {
  test('scratch has a PATH and nothing else to run', () => {
    expect(startConfig(undefined, { ...platform, variant: 'v8' })).toEqual({
      ...platform,
      variant: 'v8',
      config: { Env: [`PATH=${defaultPath}`], WorkingDir: '/' },
      rootfs: { type: 'layers', diff_ids: [] },
    });
  });

  test('a base passes on all but its triggers and its time', () => {
    const start = startConfig(base, platform);
    expect(start).not.toHaveProperty('created');
    expect(start.config).not.toHaveProperty('OnBuild');
    expect(start).toMatchObject({
      variant: 'v8',
      author: 'them',
      'x-unknown': { kept: true },
      config: { 'X-Unknown': 1, Cmd: ['sh'] },
    });
    const { config: _, ...bare } = base;
    expect(startConfig(bare, platform).config).toEqual({ Env: [`PATH=${defaultPath}`] });
  });
});

test('history is written as Go prints it', () => {
  expect(goQuote('a "b" \\ \n\t\u0001\u007f é 😀 \u200b')).toBe('"a \\"b\\" \\\\ \\n\\t\\x01\\x7f é 😀 \\u200b"');
  expect(runText(['/bin/sh', '-c', 'x'], ['A=1', 'B='])).toBe('RUN |2 A=1 B= /bin/sh -c x # buildkit');
  expect(healthText({ Test: ['NONE'] })).toBe(
    'HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}',
  );
});

test('splitEnv cuts at the first =', () => {
  expect([splitEnv('a=b=c'), splitEnv('a='), splitEnv('a')]).toEqual([
    ['a', 'b=c'],
    ['a', ''],
    ['a', ''],
  ]);
});
