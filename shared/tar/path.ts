// Paths from archives are hostile until they have passed here.
import { SlipwayError } from '../errors.ts';

/**
 * The path of an archive member as an entry's `path`: `./`, `//` and trailing `/` are dropped, '' is the root. `..` and NUL are
 * UNSAFE_PATH. A leading `/` is too, unless `absolute` is 'strip': layers of some builders have it, and docker drops it as well.
 */
export function safePath(name: string, absolute: 'refuse' | 'strip' = 'refuse', what = 'member'): string {
  if (isClean(name)) return name;
  if (name.includes('\u0000')) throw unsafe(name, what, 'has a NUL in its name');
  if (name.startsWith('/') && absolute === 'refuse') throw unsafe(name, what, 'is an absolute path');
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw unsafe(name, what, 'leads outside with ".."');
  return parts.join('/');
}

const suspicious = /(?:^|\/)\.{0,2}(?:\/|$)|\u0000/;
const isClean = (name: string): boolean => !suspicious.test(name);

const unsafe = (name: string, what: string, why: string) =>
  new SlipwayError('UNSAFE_PATH', `${what} ${JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}...` : name)} ${why}`, {
    hint: 'Archives may only hold paths below their root.',
    details: { name: name.slice(0, 4096) },
  });
