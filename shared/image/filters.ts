// `slipway images --filter`: docker's filters (F04), applied where the images are.
import { parseDuration } from '../dockerfile/duration.ts';
import { SlipwayError } from '../errors.ts';
import type { Options } from '../store/blobs.ts';
import { createdAt, type ImageParts, Images, type ListedImage } from './images.ts';

/** A line of the list: an image, with those of its names that are shown (an image without any is dangling). */
export type Filtered = ListedImage;

const known = ['dangling', 'label', 'label!', 'before', 'since', 'until', 'reference'];

const usage = (message: string, hint?: string): SlipwayError =>
  new SlipwayError('USAGE', message, hint === undefined ? {} : { hint });

/** `name=value`, lower-cased name; USAGE when it is none or not one of docker's. */
export function parseFilter(text: string): readonly [name: string, value: string] {
  const equals = text.indexOf('=');
  if (equals < 1)
    throw usage(`invalid argument "${text}" for "-f, --filter" flag: invalid filter '${text}' (expected name=value)`);
  const name = text.slice(0, equals).trim().toLowerCase();
  if (!known.includes(name)) throw usage(`invalid filter '${name}'`, `Filters are ${known.join(', ')}.`);
  return [name, text.slice(equals + 1).trim()];
}

/** The images that all filters let through; several of `reference` are alternatives, and take the other names away. */
export async function filterImages(
  parts: ImageParts,
  images: readonly ListedImage[],
  filters: readonly string[],
  options?: Options,
): Promise<readonly Filtered[]> {
  const parsed = filters.map(parseFilter);
  const values = (name: string) => parsed.filter(([key]) => key === name).map(([, value]) => value);
  let left: readonly Filtered[] = images;
  for (const value of values('dangling')) {
    const dangling = boolean(value, 'dangling');
    left = left.filter((image) => (image.names.length === 0 && !image.member) === dangling);
  }
  for (const value of values('label')) left = left.filter(({ labels }) => hasLabel(labels ?? {}, value));
  for (const value of values('label!')) left = left.filter(({ labels }) => !hasLabel(labels ?? {}, value));
  for (const value of values('before')) {
    const time = await timeOf(parts, images, value, options);
    left = left.filter((image) => createdAt(image) < time);
  }
  for (const value of values('since')) {
    const time = await timeOf(parts, images, value, options);
    left = left.filter((image) => createdAt(image) > time);
  }
  for (const value of values('until')) {
    const time = pointInTime(value, parts.clock());
    left = left.filter((image) => createdAt(image) < time);
  }
  const references = values('reference');
  if (references.length === 0) return left;
  const patterns = references.map((pattern) => ({ pattern, matches: globMatcher(pattern) }));
  return left.flatMap((image) => {
    const names = image.names.filter(({ repository, tag }) =>
      patterns.some(({ matches }) => matches(`${repository}:${tag}`) || matches(repository)),
    );
    return names.length > 0 ? [{ ...image, names }] : [];
  });
}

function boolean(value: string, name: string): boolean {
  if (/^(?:1|t|true)$/i.test(value)) return true;
  if (/^(?:0|f|false)$/i.test(value)) return false;
  throw usage(`invalid filter '${name}=${value}'`, 'Write true or false.');
}

/** `key` or `key=value`. */
export function hasLabel(labels: Readonly<Record<string, string>>, wanted: string): boolean {
  const equals = wanted.indexOf('=');
  const name = equals < 0 ? wanted : wanted.slice(0, equals);
  return Object.hasOwn(labels, name) && (equals < 0 || labels[name] === wanted.slice(equals + 1));
}

async function timeOf(parts: ImageParts, images: readonly ListedImage[], word: string, options?: Options): Promise<number> {
  const { digest } = await new Images(parts).find(word, options);
  const image = images.find((listed) => listed.digest === digest);
  return image === undefined ? Number.NEGATIVE_INFINITY : createdAt(image);
}

/** Milliseconds since 1970 of `10m`, `1h30m` (before now), seconds since 1970, or RFC 3339 with parts left out, as docker takes it. */
export function pointInTime(text: string, now: number): number {
  const duration = parseDuration(text);
  if (duration !== undefined && !/^\d+$/.test(text)) return now - duration / 1e6;
  if (/^\d+(?:\.\d+)?$/.test(text)) return Number(text) * 1000;
  const time = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time))
    throw usage(`invalid filter 'until=${text}'`, 'Write a duration such as 24h, or a time such as 2026-01-31T12:00:00Z.');
  return time;
}

/** Go's path.Match: `*` and `?` stop at a slash, `[...]` is a class. */
export function globMatcher(pattern: string): (text: string) => boolean {
  let source = '';
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i]!;
    if (char === '*') source += '[^/]*';
    else if (char === '?') source += '[^/]';
    else if (char === '[') {
      const end = pattern.indexOf(']', i + 1);
      if (end < 0) throw usage(`invalid filter 'reference=${pattern}': a [ without its ]`);
      const inner = pattern.slice(i + 1, end);
      source += `[${inner.startsWith('^') ? '^' : ''}${inner.replace(/^\^/, '').replace(/[\\[\]^]/g, '\\$&')}]`;
      i = end;
    } else if (char === '\\' && i + 1 < pattern.length) {
      source += pattern[++i]!.replace(/[^A-Za-z0-9]/, '\\$&');
    } else source += char.replace(/[\\^$.*+?()[\]{}|/]/, '\\$&');
  }
  const expression = new RegExp(`^${source}$`);
  return (text) => expression.test(text);
}
