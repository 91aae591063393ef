import { describe, expect, it } from 'vitest';
import { filterImages, globMatcher, hasLabel, parseFilter, pointInTime } from '../../shared/image/filters.ts';
import { Images } from '../../shared/image/images.ts';
import { commitSmall, smallImage } from '../support/small-images.ts';
import { storeHome } from '../support/store-home.ts';

const now = Date.parse('2026-06-01T00:00:00Z');

it('lets through what all filters let through', async () => {
  await using home = await storeHome(() => now);
  const make = async (name: string, created: string, labels: Record<string, string>, ...tags: string[]) => {
    const image = await smallImage(home.blobs, name, { created, labels });
    await commitSmall(home.catalog, name, image, ...tags);
    return image.digest;
  };
  const one = await make('one', '2026-01-01T00:00:00Z', { stage: 'test', a: '' }, 'v1', 'v2');
  const two = await make('team/two', '2026-02-01T00:00:00Z', { stage: 'prod' }, 'latest');
  const three = await make('three', '2026-03-01T00:00:00Z', { stage: 'test' });
  const images = await new Images(home).list();
  const filter = async (...filters: string[]) => (await filterImages(home, images, filters)).map(({ digest }) => digest);
  expect(await filter()).toEqual([three, two, one]);
  expect(await filter('dangling=true')).toEqual([three]);
  expect(await filter('dangling=false')).toEqual([two, one]);
  expect(await filter('label=stage')).toEqual([three, two, one]);
  expect(await filter('label=stage=test')).toEqual([three, one]);
  expect(await filter('label=stage=test', 'label=a')).toEqual([one]);
  expect(await filter('before=team/two')).toEqual([one]);
  expect(await filter(`since=${one.slice(7, 19)}`)).toEqual([three, two]);
  expect(await filter('until=2026-02-15')).toEqual([two, one]);
  expect(await filter('until=2400h')).toEqual([two, one]);
  expect(await filter('reference=one')).toEqual([one]);
  expect(await filter('reference=on')).toEqual([]);
  expect(await filter('reference=*/two', 'reference=one:v1')).toEqual([two, one]);
  expect((await filterImages(home, images, ['reference=one:v1']))[0]?.names).toEqual([{ repository: 'one', tag: 'v1' }]);
  await expect(filter('before=nope')).rejects.toThrow('No such image: nope:latest');
});

describe('filters that are none', () => {
  it.each(['x', '=x', 'colour=red'])('%s', (text) => {
    expect(() => parseFilter(text)).toThrow(/invalid/);
  });
  it.each(['yesterday', '2026', ''])('until=%s', (text) => {
    if (text === '2026') expect(pointInTime(text, now)).toBe(2026_000);
    else expect(() => pointInTime(text, now)).toThrow(/invalid filter/);
  });
});

it('reads times as docker does', () => {
  expect(pointInTime('10m', now)).toBe(now - 600_000);
  expect(pointInTime('1h30m', now)).toBe(now - 5_400_000);
  expect(pointInTime('1767225600', now)).toBe(Date.parse('2026-01-01T00:00:00Z'));
  expect(pointInTime('2026-01-01T00:00:00Z', now)).toBe(Date.parse('2026-01-01T00:00:00Z'));
});

it.each([
  ['a*', 'abc', true],
  ['a*', 'a/b', false],
  ['*/b', 'a/b', true],
  ['a?c', 'abc', true],
  ['a?c', 'a/c', false],
  ['[ab]c', 'bc', true],
  ['[^ab]c', 'bc', false],
  ['[a-c]x', 'bx', true],
  ['a.c', 'abc', false],
  ['a+c', 'aac', false],
  ['a\\*', 'a*', true],
  ['app:v1.*', 'app:v1.2', true],
])('glob %s on %s', (pattern, text, wanted) => {
  expect(globMatcher(pattern)(text)).toBe(wanted);
});

it('labels with = in their value, and none that objects have by nature', () => {
  expect(hasLabel({ a: 'b=c' }, 'a=b=c')).toBe(true);
  expect(hasLabel({}, 'constructor')).toBe(false);
});
