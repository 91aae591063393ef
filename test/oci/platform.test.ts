import { describe, expect, it } from 'vitest';
import {
  choosePlatform,
  formatPlatform,
  hostPlatform,
  normalizePlatform,
  parsePlatform,
  samePlatform,
} from '../../shared/oci/platform.ts';

describe('platforms as people write them', () => {
  it.each([
    ['linux/amd64', 'linux/amd64'],
    ['linux/x86_64', 'linux/amd64'],
    ['linux/x86-64', 'linux/amd64'],
    ['linux/amd64/v1', 'linux/amd64'],
    ['linux/amd64/v2', 'linux/amd64/v2'],
    ['linux/aarch64', 'linux/arm64'],
    ['linux/arm64/v8', 'linux/arm64'],
    ['linux/arm64/8', 'linux/arm64'],
    ['linux/arm64/v9', 'linux/arm64/v9'],
    ['linux/arm', 'linux/arm/v7'],
    ['linux/armhf', 'linux/arm/v7'],
    ['linux/armel', 'linux/arm/v6'],
    ['linux/arm/6', 'linux/arm/v6'],
    ['LINUX/AMD64', 'linux/amd64'],
    ['macos/arm64', 'darwin/arm64'],
    ['linux/i386', 'linux/386'],
    ['linux/s390x', 'linux/s390x'],
    ['arm64', 'linux/arm64'],
    ['windows', 'windows/amd64'],
  ])('%s is %s', (text, shown) => {
    expect(formatPlatform(parsePlatform(text))).toBe(shown);
  });

  it.each(['', '/', 'linux/', 'a/b/c/d', 'lin ux/amd64', 'linux/../x', 'toaster', 'linux/amd64\n'])('%j is refused', (text) => {
    expect(() => parsePlatform(text)).toThrow(expect.objectContaining({ code: 'INVALID_PLATFORM' }));
  });

  it('knows its own machine', () => {
    expect(formatPlatform(hostPlatform('x64'))).toBe('linux/amd64');
    expect(formatPlatform(hostPlatform('arm64'))).toBe('linux/arm64');
    expect(formatPlatform(hostPlatform('arm'))).toBe('linux/arm/v7');
  });

  it('normalising keeps what it does not know', () => {
    expect(normalizePlatform({ os: 'windows', architecture: 'amd64', 'os.version': '10.0.1' })).toEqual({
      os: 'windows',
      architecture: 'amd64',
      'os.version': '10.0.1',
    });
  });
});

describe('choosing from an index', () => {
  const of = (...names: string[]) =>
    names.map((name) => {
      const [os = '', architecture = '', variant] = name.split('/');
      return { name, platform: { os, architecture, ...(variant && { variant }) } };
    });
  const choose = (asked: string, names: string[], strict?: boolean) =>
    choosePlatform(of(...names), parsePlatform(asked), strict)?.name;

  it('the platform itself before what its processor can also run', () => {
    expect(choose('linux/arm64', ['linux/arm/v7', 'linux/amd64', 'linux/arm64/v8'])).toBe('linux/arm64/v8');
    expect(choose('linux/arm64', ['linux/arm/v5', 'linux/arm/v7', 'linux/amd64'])).toBe('linux/arm/v7');
    expect(choose('linux/arm/v7', ['linux/arm/v5', 'linux/arm/v6', 'linux/arm64'])).toBe('linux/arm/v6');
    expect(choose('linux/arm/v6', ['linux/arm/v7'])).toBeUndefined();
    expect(choose('linux/amd64', ['linux/386', 'linux/arm64'])).toBe('linux/386');
    expect(choose('linux/amd64/v3', ['linux/amd64', 'linux/amd64/v2', 'linux/amd64/v4'])).toBe('linux/amd64/v2');
    expect(choose('linux/arm64/v9', ['linux/arm64', 'linux/arm/v7'])).toBe('linux/arm64');
  });

  it('strictly only the platform itself', () => {
    expect(choose('linux/arm64', ['linux/arm/v7'], true)).toBeUndefined();
    expect(choose('linux/arm64', ['linux/arm64/v8'], true)).toBe('linux/arm64/v8');
    expect(choose('linux/amd64', ['linux/386'], true)).toBeUndefined();
  });

  it('the first of equals, and never an attestation', () => {
    const offered = [
      { name: 'attestation', platform: { os: 'unknown', architecture: 'unknown' } },
      { name: 'none' },
      { name: 'one', platform: { os: 'linux', architecture: 'amd64' } },
      { name: 'two', platform: { os: 'linux', architecture: 'x86_64' } },
    ];
    expect(choosePlatform(offered, parsePlatform('linux/amd64'))?.name).toBe('one');
  });

  it('an os.version that is asked for must agree', () => {
    const windows = (version: string) => ({ os: 'windows', architecture: 'amd64', 'os.version': version });
    expect(samePlatform(windows('10.0.17763'), windows('10.0.20348'))).toBe(false);
    expect(samePlatform({ os: 'windows', architecture: 'amd64' }, windows('10.0.20348'))).toBe(true);
  });
});
