// The one file that makes keys: every Table key and every bucket key of the domain, so that the whole map is on this page. A part of
// a key that comes from outside (a repository, a tag, a digest, an id) goes through `compose`, which keeps one name from becoming two.
//
// Table: partition | sort                                what it holds
// ---------------------------------------------------------------------------------------------------------------------------
// Blobs on S3 (s3-blobs.ts)
//   blobs#<algorithm>#<hex digit>  | <digest>            where the bytes of a blob are: object key and size. The first digit of the
//                                                        digest shards the partition, and the 32 shards in order are digest order
//   upload#<id>                    | state               a resumable upload: offset, hash state, tail object; later: what it became
//   upload#<id>                    | part#<00001>        the ETag of one part of its multipart upload
//   direct#<id>                    | maker               who asked for a presigned upload (api/blobs.ts)
// Builds (build/cache.ts)
//   step#<hex digit>               | <key>               the cached result of a step: diffID of its layer, and the parts of its key
//   slot#<hex digit>               | <digest>            the layer that the same instruction made last time
// Stored builds (build/build-records.ts, build/stored-log.ts); ids sort by time
//   builds                         | <id>                a build: its state, digests of its request, plan and result
//   build-token                    | <digest>            the build that a client's token stands for
//   build#<id>                     | log                 how far its log is: events, bytes, sources and their open steps
//   build#<id>                     | event#<last>        a batch of events, under the number of its last one
//   build#<id>                     | stage#<index>       the finished image of a stage, as a blob
//   build#<id>                     | usage#<part>        what a part of it used
// Transfers: images pulled from and pushed to other registries (transfer/transfer-records.ts); ids sort by time, all gone a week after
//   transfers                      | <id>                a transfer: what was asked, its state, when it was last heard of, events so far
//   transfer-token                 | <digest>            the transfer that a client's token stands for
//   transfer#<id>                  | event#<last>        a batch of events, under the number of its last one
// Contexts (context/context-store.ts)
//   body#<project>#<hex digit>     | <digest>            where the project's body of a context file is: blob (a pack, or itself), offset
//   context#<project>              | <digest>            a file list that the project saved; the list is the blob <digest>
//   projects                       | <project>           a project that has saved a file list
// Catalog (catalog-table.ts)
//   repositories                   | <repository>        a repository that has had a manifest; internal ones (<name>) are not listed
//   repository#<repository>        | tag#<tag>           what the tag points at, with the facts needed to serve it
//   repository#<repository>        | manifest#<digest>   a manifest of the repository
//   repository#<repository>        | refer#<subject>#<digest>   the same record again, below the manifest it refers to
//   repository#<repository>        | link#<digest>       a blob that may be read through the repository
//   repository#<repository>        | removal             who takes things out of the repository now, or did last
//   moves#<repository>             | <tag>#<time>        one move of a tag; milliseconds, never twice the same for a tag
//   holders#<hex digit>            | <digest>#<repository>   that the repository has this manifest: images are found by ID here
//   links#<digest>                 | in#<repository>     that the repository links the blob
//   links#<digest>                 | condemned           the blob is being freed: no new link until that is over
// Collections (collection/)
//   collection                     | state               how far the collection under way is, or what the last one did
// Layers (layer/record.ts)
//   layer#<hex digit>              | <diffID>            the layer's blobs with their member indexes, and its table of contents
// Accounts (auth/accounts.ts)
//   accounts                       | <name>              a person or a robot that may log in: grants and the password's hash. The rights
//                                                        of the account's functions name this partition (infra/)
// Images (image/facts.ts)
//   facts#<hex digit>              | <digest>            what a list of images shows of a manifest; made again when missing
// Builds under way (workflow/): what one process leaves for the next; gone some weeks after
//   work#<build>                   | log#<source>        how far a writer's log is, for the process that goes on with it; what the
//                                                        last one failed with
//   work#<build>                   | made#<key>          --no-cache: that this build itself made the step
//   job#<build>                    | <stage>             the job that a runner works on: attempt, outcome, machines
//   job#<build>#<stage>            | claim#<key>         what the runner says a RUN made; counts once it was checked
//   job#<build>#<stage>            | read#<digest>       a blob that the job may read
//   job#<build>#<stage>            | upload#<id>         a place that the job was given for the bytes of one blob
//   job#<build>#<stage>            | sent#<digest>       a blob whose bytes the job sent
//
// Bucket                                                 what it holds
// ---------------------------------------------------------------------------------------------------------------------------
//   blobs/<algorithm>/<hex>/<unique>                     bytes put under a digest known beforehand
//   contexts/<name>, contexts/<project>/<name>           archives that others put there to be built from (context/archive-object.ts)
//   uploads/<id>/<unique>                                bytes whose digest was not known when they came: an upload's multipart object
//                                                        or its tail. They stay here when committed: a record points at them, no copy
// Every object key is unique to one attempt to store, so deleting one attempt's object never hits another's. An object is garbage
// when the record its key leads to (the blob's by digest, or the upload's state) does not name it.
import { SlipwayError } from '../errors.ts';
import { algorithmOf, type Digest, encodedOf, isDigest } from '../oci/digest.ts';
import type { Key } from './table.ts';

const separator = '#';

/** Joins parts; only the last may contain the separator, because nothing follows that it could be mistaken for. */
function compose(...parts: readonly string[]): string {
  for (const part of parts.slice(0, -1)) {
    if (part.includes(separator)) {
      throw new SlipwayError('INTERNAL', `key part ${JSON.stringify(part)} contains "${separator}"`);
    }
  }
  return parts.join(separator);
}

const hexDigits = '0123456789abcdef';

/** Table keys of S3Blobs. */
export const blobKeys = {
  record: (digest: Digest): Key => ({
    partition: compose('blobs', algorithmOf(digest), encodedOf(digest).slice(0, 1)),
    sort: digest,
  }),
  /** The partitions that hold blob records, in digest order, from the one that holds digests after `after`. */
  partitions(after?: Digest): readonly string[] {
    const all = ['sha256', 'sha512'].flatMap((algorithm) => Array.from(hexDigits, (digit) => compose('blobs', algorithm, digit)));
    return after === undefined ? all : all.slice(all.indexOf(blobKeys.record(after).partition));
  },
} as const;

/** Table keys of resumable uploads. */
export const uploadKeys = {
  state: (id: string): Key => ({ partition: compose('upload', id), sort: 'state' }),
  /** S3 part numbers: 1 to 10,000. */
  part: (id: string, number: number): Key => ({
    partition: compose('upload', id),
    sort: compose('part', String(number).padStart(5, '0')),
  }),
  partPrefix: compose('part', ''),
} as const;

/** Table keys of direct uploads. */
export const directKeys = {
  upload: (id: string): Key => ({ partition: compose('direct', id), sort: 'maker' }),
} as const;

/** Table keys of the build cache. The first digit of the key shards the partition: DynamoDB gives one partition 1000 writes a second. */
export const cacheKeys = {
  step: (key: Digest): Key => ({ partition: compose('step', encodedOf(key).slice(0, 1)), sort: key }),
  slot: (slot: Digest): Key => ({ partition: compose('slot', encodedOf(slot).slice(0, 1)), sort: slot }),
  partitions: Array.from(hexDigits).flatMap((digit) => [compose('step', digit), compose('slot', digit)]),
} as const;

/** Table keys of stored builds. All builds are one partition: a team starts fewer than the thousand a second that it takes. */
export const buildKeys = {
  builds: 'builds',
  record: (id: string): Key => ({ partition: 'builds', sort: id }),
  token: (token: Digest): Key => ({ partition: 'build-token', sort: token }),
  partition: (id: string): string => compose('build', id),
  log: (id: string): Key => ({ partition: buildKeys.partition(id), sort: 'log' }),
  /** `last`: the number of the last event in the batch, from 1. So the batches after event n are those that sort after it. */
  batch: (id: string, last: number): Key => ({
    partition: buildKeys.partition(id),
    sort: compose('event', String(last).padStart(12, '0')),
  }),
  batchPrefix: compose('event', ''),
  stage: (id: string, index: number): Key => ({
    partition: buildKeys.partition(id),
    sort: compose('stage', String(index).padStart(5, '0')),
  }),
  stagePrefix: compose('stage', ''),
  usage: (id: string, part: string): Key => ({ partition: buildKeys.partition(id), sort: compose('usage', part) }),
  usagePrefix: compose('usage', ''),
} as const;

/** Table keys of transfers, in the manner of builds. */
export const transferKeys = {
  transfers: 'transfers',
  record: (id: string): Key => ({ partition: 'transfers', sort: id }),
  token: (token: Digest): Key => ({ partition: 'transfer-token', sort: token }),
  partition: (id: string): string => compose('transfer', id),
  /** `last`: the number of the last event in the batch, from 1. */
  batch: (id: string, last: number): Key => ({
    partition: transferKeys.partition(id),
    sort: compose('event', String(last).padStart(12, '0')),
  }),
  batchPrefix: compose('event', ''),
} as const;

/** Table keys of contexts. The project is in the partition: what another project has cannot be found from here. */
export const contextKeys = {
  body: (project: string, digest: Digest): Key => ({
    partition: compose('body', project, encodedOf(digest).slice(0, 1)),
    sort: digest,
  }),
  bodies: (project: string): readonly string[] => Array.from(hexDigits, (digit) => compose('body', project, digit)),
  list: (project: string, digest: Digest): Key => ({ partition: contextKeys.lists(project), sort: digest }),
  lists: (project: string): string => compose('context', project),
  projects: 'projects',
  project: (project: string): Key => ({ partition: 'projects', sort: project }),
} as const;

/** Table key of collections. */
export const collectionKeys = {
  state: { partition: 'collection', sort: 'state' },
} as const;

const firstDigit = (digest: Digest): string => encodedOf(digest).slice(0, 1);

/** Table keys of the catalog. Repository names and tags never contain the separator: the grammar of references has no `#`. */
export const catalogKeys = {
  repositories: 'repositories',
  repository: (repository: string): Key => ({ partition: 'repositories', sort: repository }),
  /** The partition of one repository. */
  partition: (repository: string): string => compose('repository', repository),
  tag: (repository: string, tag: string): Key => ({ partition: catalogKeys.partition(repository), sort: compose('tag', tag) }),
  tagPrefix: compose('tag', ''),
  manifest: (repository: string, digest: Digest): Key => ({
    partition: catalogKeys.partition(repository),
    sort: compose('manifest', digest),
  }),
  manifestPrefix: compose('manifest', ''),
  referrer: (repository: string, subject: Digest, digest: Digest): Key => ({
    partition: catalogKeys.partition(repository),
    sort: compose('refer', subject, digest),
  }),
  referrerPrefix: (subject: Digest): string => compose('refer', subject, ''),
  link: (repository: string, digest: Digest): Key => ({
    partition: catalogKeys.partition(repository),
    sort: compose('link', digest),
  }),
  linkPrefix: compose('link', ''),
  removal: (repository: string): Key => ({ partition: catalogKeys.partition(repository), sort: 'removal' }),
  moves: (repository: string): string => compose('moves', repository),
  /** `at`: whole milliseconds since 1970. */
  move: (repository: string, tag: string, at: number): Key => ({
    partition: catalogKeys.moves(repository),
    sort: compose(tag, String(at).padStart(15, '0')),
  }),
  movePrefix: (tag: string): string => compose(tag, ''),
  holder: (digest: Digest, repository: string): Key => ({
    partition: compose('holders', firstDigit(digest)),
    sort: compose(digest, repository),
  }),
  /** The partition in which digests that start with `prefix` (at least one hex digit) are. */
  holders: (prefix: string): string => compose('holders', /^sha\d+:(.)/.exec(prefix)?.[1] ?? ''),
  blobLinks: (digest: Digest): string => compose('links', digest),
  blobLink: (digest: Digest, repository: string): Key => ({
    partition: catalogKeys.blobLinks(digest),
    sort: compose('in', repository),
  }),
  blobLinkPrefix: compose('in', ''),
  condemned: (digest: Digest): Key => ({ partition: catalogKeys.blobLinks(digest), sort: 'condemned' }),
} as const;

/** Table keys of what is known of layers. */
export const layerKeys = {
  record: (diffId: Digest): Key => ({ partition: compose('layer', firstDigit(diffId)), sort: diffId }),
  partitions: Array.from(hexDigits, (digit) => compose('layer', digit)),
} as const;

/** Table keys of those who may log in. */
export const accountKeys = {
  partition: 'accounts',
  account: (name: string): Key => ({ partition: 'accounts', sort: name }),
} as const;

/** Table keys of what is known of an image without reading its documents again. */
export const imageKeys = {
  facts: (digest: Digest): Key => ({ partition: compose('facts', firstDigit(digest)), sort: digest }),
  partitions: Array.from(hexDigits, (digit) => compose('facts', digit)),
} as const;

/** Table keys of builds under way. Build ids are made by the home and have no separator in them. */
export const workKeys = {
  log: (build: string, source: string): Key => ({ partition: compose('work', build), sort: compose('log', source) }),
  partition: (build: string): string => compose('work', build),
  logPrefix: compose('log', ''),
  made: (build: string, key: Digest): Key => ({ partition: compose('work', build), sort: compose('made', key) }),
} as const;

/** Table keys of jobs. A job's own partition is all that its runner can write to. */
export const jobKeys = {
  jobs: (build: string): string => compose('job', build),
  job: (build: string, stage: number): Key => ({ partition: compose('job', build), sort: String(stage) }),
  partition: (build: string, stage: number): string => compose('job', build, String(stage)),
  /** That the build was told of another zlib. */
  codecTold: (build: string): Key => ({ partition: compose('job', build, 'codec'), sort: 'told' }),
  claim: (build: string, stage: number, key: Digest): Key => ({
    partition: jobKeys.partition(build, stage),
    sort: compose('claim', key),
  }),
  read: (build: string, stage: number, digest: Digest): Key => ({
    partition: jobKeys.partition(build, stage),
    sort: compose('read', digest),
  }),
  upload: (build: string, stage: number, id: string): Key => ({
    partition: jobKeys.partition(build, stage),
    sort: compose('upload', id),
  }),
  sent: (build: string, stage: number, digest: Digest): Key => ({
    partition: jobKeys.partition(build, stage),
    sort: compose('sent', digest),
  }),
} as const;

/** Keys of the bucket. `unique` names one attempt to store. */
export const objectKeys = {
  blob: (digest: Digest, unique: string): string => `blobs/${algorithmOf(digest)}/${encodedOf(digest)}/${unique}`,
  upload: (id: string, unique: string): string => `uploads/${id}/${unique}`,
  /** The upload that an object key belongs to, if it is an upload's. */
  uploadOf: (key: string): string | undefined => /^uploads\/([^/]+)\//.exec(key)?.[1],
  /** The blob that an object key was made for, if it is a blob's. */
  digestOf: (key: string): Digest | undefined => {
    const [, algorithm, encoded] = /^blobs\/([^/]+)\/([^/]+)\//.exec(key) ?? [];
    return objectKeys.asDigest(`${algorithm}:${encoded}`);
  },
  asDigest: (text: string | undefined): Digest | undefined => (text !== undefined && isDigest(text) ? text : undefined),
} as const;
