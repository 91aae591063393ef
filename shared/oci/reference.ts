// Image references as docker reads them (github.com/distribution/reference, grammar in its reference.go and normalize.go), with its
// words for what is wrong, because people search for those.
import { SlipwayError } from '../errors.ts';
import { type Digest, isDigest } from './digest.ts';

export interface Reference {
  /** `docker.io`, `localhost:5000`, ... */
  readonly host: string;
  /** The path at that host, with `library/` on docker.io. */
  readonly path: string;
  /** The familiar name, by which the catalog knows the repository: without docker.io and library/. */
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

export const defaultHost = 'docker.io';
export const defaultTag = 'latest';
const official = 'library/';

const domainWord = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const hostShape = new RegExp(`^(?:${domainWord}(?:\\.${domainWord})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const pathWord = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const pathShape = new RegExp(`^${pathWord}(?:/${pathWord})*$`);
const tagShape = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const identifier = /^[a-f0-9]{64}$/;

/** Bytes of a repository's path. */
const nameLimit = 255;

export const isTag = (text: string): boolean => tagShape.test(text);

/** A repository path as the distribution spec allows it in a URL. */
export const isRepositoryPath = (text: string): boolean => text.length <= nameLimit && pathShape.test(text);

const fail = (problem: string, hint?: string): SlipwayError =>
  new SlipwayError('INVALID_REFERENCE', problem, hint === undefined ? {} : { hint });

const isHost = (first: string): boolean => first === 'localhost' || /[.:]/.test(first) || first !== first.toLowerCase();

/** Whether the name says which registry, Docker Hub included: without, it is Docker Hub's by docker's rules. */
export const namesHost = (text: string): boolean => text.includes('/') && isHost(text.slice(0, text.indexOf('/')));

function splitHost(name: string): readonly [host: string, rest: string] {
  const slash = name.indexOf('/');
  // A single word is never HOST:PORT: `ubuntu:22.04` is a tag.
  if (slash < 0) return [defaultHost, official + name];
  const first = name.slice(0, slash);
  const after = name.slice(slash + 1);
  let host = defaultHost;
  let rest = name;
  if (first === 'index.docker.io') rest = after;
  else if (isHost(first)) [host, rest] = [first, after];
  if (host === defaultHost && !rest.includes('/')) rest = official + rest;
  return [host, rest];
}

/** The short form of a name: docker.io, and library/ there, dropped. */
export function familiarName(host: string, path: string): string {
  if (host !== defaultHost) return `${host}/${path}`;
  const short = path.startsWith(official) ? path.slice(official.length) : path;
  return short.includes('/') ? path : short;
}

/**
 * `[host[:port]/]path[:tag][@digest]`. The first component is a host only if it has a `.` or `:`, is `localhost`, or has an upper
 * case letter. Neither tag nor digest is added: see {@link withDefaultTag}.
 * @throws INVALID_REFERENCE, INVALID_DIGEST in docker's words
 */
export function parseReference(text: string): Reference {
  if (text === '') throw fail('invalid reference format: repository name must have at least one component');
  if (identifier.test(text)) {
    throw fail(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  }
  const [host, rest] = splitHost(text);
  const beforeTag = /^[^:]*/.exec(rest)?.[0] ?? '';
  if (beforeTag !== beforeTag.toLowerCase()) {
    throw fail(`invalid reference format: repository name (${beforeTag.replace(/@.*/, '')}) must be lowercase`);
  }
  const bad = () =>
    fail(`invalid reference format: ${JSON.stringify(text.slice(0, 300))}`, 'Write a name as [HOST[:PORT]/]PATH[:TAG][@DIGEST].');
  const at = rest.indexOf('@');
  const nameAndTag = at < 0 ? rest : rest.slice(0, at);
  const digest = at < 0 ? undefined : rest.slice(at + 1);
  const colon = nameAndTag.indexOf(':');
  const path = colon < 0 ? nameAndTag : nameAndTag.slice(0, colon);
  const tag = colon < 0 ? undefined : nameAndTag.slice(colon + 1);
  if (!hostShape.test(host) || !pathShape.test(path)) throw bad();
  if (tag !== undefined && !isTag(tag)) throw bad();
  if (path.length > nameLimit)
    throw fail(`invalid reference format: repository name must not be more than ${nameLimit} characters`);
  if (digest !== undefined && !isDigest(digest)) {
    throw new SlipwayError(
      'INVALID_DIGEST',
      `invalid reference format: ${JSON.stringify(digest.slice(0, 140))} is not a digest`,
      {
        hint: 'A digest is sha256: and 64 hex digits in lower case.',
      },
    );
  }
  return {
    host,
    path,
    repository: familiarName(host, path),
    ...(tag !== undefined && { tag }),
    ...(digest !== undefined && { digest }),
  };
}

/** The reference with the tag `latest` where it has neither tag nor digest. */
export const withDefaultTag = (reference: Reference): Reference =>
  reference.tag === undefined && reference.digest === undefined ? { ...reference, tag: defaultTag } : reference;

const suffix = (reference: Reference): string =>
  (reference.tag === undefined ? '' : `:${reference.tag}`) + (reference.digest === undefined ? '' : `@${reference.digest}`);

/** Short, as docker prints it: `ubuntu:22.04`. */
export const familiar = (reference: Reference): string => reference.repository + suffix(reference);

/** In full: `docker.io/library/ubuntu:22.04`. */
export const canonical = (reference: Reference): string => `${reference.host}/${reference.path}${suffix(reference)}`;

/**
 * A name as this home knows it: for others its images have its host before them, here they have not. `host`: by which others reach this
 * very home; absent, no name is changed.
 */
export const withoutHost = (text: string, host: string | undefined): string =>
  host !== undefined && text.startsWith(`${host}/`) ? text.slice(host.length + 1) : text;

/** F91: no image has this name, here or on Docker Hub. */
export const reserved = (): SlipwayError => fail("'scratch' is a reserved name");

/** A name to give to an image: a tag (`latest` by default), no digest, and not the reserved name `scratch` (F91). */
export function parseTarget(text: string): Reference & { readonly tag: string } {
  const reference = parseReference(text);
  if (reference.digest !== undefined)
    throw fail('refusing to create a tag with a digest reference', 'Leave the @digest out of the new name.');
  if (reference.repository === 'scratch') throw reserved();
  return { ...reference, tag: reference.tag ?? defaultTag };
}
