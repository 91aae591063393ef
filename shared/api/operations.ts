// Every operation of the control API, described: what openapi.ts makes its document of. The schemas of requests are those that check
// them (they stand beside the routes); a test holds this table against the routes and real answers against the schemas.
import type * as z from 'zod/mini';
import type { ErrorCode } from '../errors.ts';
import { about } from './about.ts';
import * as answers from './answers.ts';
import { confirmRequest, directUpload, directUploadRequest, storedBlob } from './blobs.ts';
import { maxBuildRequest } from './builds.ts';
import { adoptRequest, contextFacts, listType, offeredContext, packType, receivedBodies } from './contexts.ts';
import { saveRequest, tagRequest } from './images.ts';
import { startRequest } from './start-request.ts';
import { transferRequest } from './transfer.ts';

export interface Parameter {
  readonly name: string;
  readonly about: string;
  readonly type: 'string' | 'integer' | 'boolean';
  readonly required?: true;
  readonly multiple?: true;
  readonly example?: string | number | boolean;
}

export interface Body {
  readonly type: string;
  /** Absent for bytes. */
  readonly schema?: z.ZodMiniType;
  /** Name of the schema in the document. */
  readonly name?: string;
  readonly about?: string;
  readonly example?: unknown;
}

export interface Operation {
  readonly id: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** As the route has it. */
  readonly path: string;
  readonly tag: 'builds' | 'contexts' | 'images' | 'blobs' | 'about';
  readonly summary: string;
  readonly about?: string;
  readonly query?: readonly Parameter[];
  readonly request?: Body;
  readonly status: number;
  readonly answer: Body;
  readonly errors: readonly ErrorCode[];
}

const json = 'application/json';
const ndjson = 'application/x-ndjson';
const tar = 'application/x-tar';
const bytes = 'application/octet-stream';
const digest = `sha256:${'7d'.repeat(32)}`;
const build = '019a8b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b';
const project: Parameter = {
  name: 'project',
  about: 'Keeps files apart from those of other projects.',
  type: 'string',
  required: true,
  example: 'default',
};
const platform: Parameter = {
  name: 'platform',
  about: 'One member of a multi-platform image.',
  type: 'string',
  example: 'linux/arm64',
};
const offered: Body = {
  type: json,
  schema: offeredContext,
  name: 'OfferedContext',
  example: { id: digest, project: 'default', files: 2, missing: [digest], more: false, direct: false },
};
const received: Body = { type: json, schema: receivedBodies, name: 'ReceivedBodies', example: { bodies: 12 } };
const empty: Body = { type: json, schema: answers.nothing, name: 'Nothing', example: {} };
const buildExample = {
  id: build,
  state: 'succeeded',
  created: 1767225600000,
  started: 1767225600100,
  ended: 1767225604000,
  tags: ['team/app:1.2'],
  dockerfile: 'Dockerfile',
  request: digest,
  image: digest,
};

const buildFactsExample = {
  ...buildExample,
  usage: {
    lambdaRequests: 7,
    lambdaArm64MibMs: 9_216_000,
    s3Reads: 12,
    s3Writes: 9,
    dynamodbWriteUnits: 80,
    stateTransitions: 16,
  },
  cost: {
    nanoDollars: 621_402,
    prices: { date: '2026-11-23', region: 'us-east-1', source: 'list prices, first tier, not confirmed on a bill' },
    services: { lambda: 121_401, s3: 49_800, dynamodb: 50_000, stepFunctions: 400_000 },
    steps: [{ stage: 0, name: '[2/2] COPY app /', milliseconds: 812, nanoDollars: 84_120 }],
    rest: 537_282,
    unpriced: [],
    notCounted: ['sending the context'],
  },
};

export const operations: readonly Operation[] = [
  {
    id: 'about',
    method: 'GET',
    path: '/api/v1',
    tag: 'about',
    summary: 'What this is; also tells whether a login is good',
    status: 200,
    answer: { type: json, schema: about, name: 'About', example: { name: 'slipway', version: '0.1.0', api: 'v1' } },
    errors: [],
  },
  {
    id: 'openApi',
    method: 'GET',
    path: '/api/openapi.json',
    tag: 'about',
    summary: 'This document',
    status: 200,
    answer: { type: json, about: 'OpenAPI 3.1' },
    errors: [],
  },
  {
    id: 'startBuild',
    method: 'POST',
    path: '/api/v1/builds',
    tag: 'builds',
    summary: 'Start a build',
    about: `Give a new clientToken for each build and the same one to repeat a call whose answer was lost: for a day it answers the same build. Requests have at most ${maxBuildRequest} bytes. A context of the kind \`directory\` is for the command line on the same machine only.`,
    request: {
      type: json,
      schema: startRequest,
      name: 'StartBuild',
      example: {
        clientToken: 'b1c2',
        context: { kind: 'stored', project: 'default', id: digest },
        dockerfile: { name: 'Dockerfile', text: 'FROM scratch\nCOPY app /\n' },
        tags: ['team/app:1.2'],
        buildArgs: {},
        labels: {},
        noCache: false,
        pull: false,
      },
    },
    status: 201,
    answer: { type: json, schema: answers.startedBuild, name: 'StartedBuild', example: { id: build } },
    errors: ['INVALID_DOCUMENT', 'CONTEXT', 'CONFLICT', 'DENIED', 'NOT_FOUND', 'TOO_LARGE'],
  },
  {
    id: 'listBuilds',
    method: 'GET',
    path: '/api/v1/builds',
    tag: 'builds',
    summary: 'List builds, newest first',
    query: [
      { name: 'limit', about: 'At most 500; 50 without it.', type: 'integer', example: 20 },
      { name: 'after', about: '`next` of the page before.', type: 'string', example: build },
    ],
    status: 200,
    answer: { type: json, schema: answers.buildList, name: 'BuildList', example: { builds: [buildExample] } },
    errors: ['USAGE'],
  },
  {
    id: 'getBuild',
    method: 'GET',
    path: '/api/v1/builds/:id',
    tag: 'builds',
    summary: 'One build, with what it used',
    about:
      'In an account `usage` counts what AWS charges for, so far, and `cost` estimates it from list prices, in billionths of a dollar: docs/account.md says how. Both go on for some seconds after the end of the build.',
    status: 200,
    answer: { type: json, schema: answers.buildFacts, name: 'Build', example: buildFactsExample },
    errors: ['NOT_FOUND'],
  },
  {
    id: 'buildEvents',
    method: 'GET',
    path: '/api/v1/builds/:id/events',
    tag: 'builds',
    summary: 'Follow a build',
    about:
      'One event a line, as they come, to the last one (`result` or `error`). Each has a number; numbers have no gaps. An answer may end before the build does: ask again after the last number seen. Empty lines are signs of life. Of very long output, the end is not kept.',
    query: [
      { name: 'after', about: 'The number of the last event seen; 0 without it.', type: 'integer', example: 17 },
      { name: 'follow', about: '`false`: only those that are there now.', type: 'boolean', example: false },
      { name: 'limit', about: 'With follow=false: at most 10,000; 1,000 without it.', type: 'integer', example: 100 },
    ],
    status: 200,
    answer: {
      type: ndjson,
      schema: answers.buildEvent,
      name: 'BuildEvent',
      example: { number: 18, type: 'log', id: 3, stream: 'stdout', text: 'compiling\n', at: 1767225601000 },
    },
    errors: ['NOT_FOUND', 'USAGE'],
  },
  {
    id: 'cancelBuild',
    method: 'POST',
    path: '/api/v1/builds/:id/cancel',
    tag: 'builds',
    summary: 'Stop a build',
    about:
      'It stops within seconds; its last event is then an `error` with the code CANCELLED. Nothing happens to one that has ended.',
    status: 202,
    answer: empty,
    errors: ['NOT_FOUND'],
  },
  {
    id: 'offerContext',
    method: 'POST',
    path: '/api/v1/contexts',
    tag: 'contexts',
    summary: 'Send the list of a context’s files, and learn which contents to send',
    about:
      'The list is lines of JSON (slipway-context-v1, docs/api.md), gzip allowed; at most 64 MiB unpacked. A list too large for one request goes by a direct upload and `adopt`.',
    query: [project],
    request: { type: listType, about: 'slipway-context-v1' },
    status: 201,
    answer: offered,
    errors: ['CONTEXT', 'UNSAFE_PATH', 'USAGE', 'TOO_LARGE', 'UNSUPPORTED'],
  },
  {
    id: 'getContext',
    method: 'GET',
    path: '/api/v1/contexts/:id',
    tag: 'contexts',
    summary: 'Whether a context is known, and complete',
    query: [project],
    status: 200,
    answer: {
      type: json,
      schema: contextFacts,
      name: 'Context',
      example: { id: digest, project: 'default', files: 2, complete: true },
    },
    errors: ['NOT_FOUND', 'USAGE', 'INVALID_DIGEST'],
  },
  {
    id: 'completeContext',
    method: 'POST',
    path: '/api/v1/contexts/:id/complete',
    tag: 'contexts',
    summary: 'Ask what is still missing; a context can be built from when nothing is',
    query: [project],
    status: 200,
    answer: offered,
    errors: ['NOT_FOUND', 'USAGE', 'INVALID_DIGEST'],
  },
  {
    id: 'sendPack',
    method: 'PUT',
    path: '/api/v1/contexts/:project/packs',
    tag: 'contexts',
    summary: 'Send a pack of contents',
    about:
      'slipway-pack-v1 (docs/api.md): contents of at most 4 MiB each, about 8 MiB together. Where `direct` is true, use a direct upload: gateways take less than that.',
    request: { type: packType, about: 'slipway-pack-v1' },
    status: 201,
    answer: received,
    errors: ['INVALID_ARCHIVE', 'DIGEST_MISMATCH', 'TOO_LARGE', 'USAGE'],
  },
  {
    id: 'sendBody',
    method: 'PUT',
    path: '/api/v1/contexts/:project/bodies/:digest',
    tag: 'contexts',
    summary: 'Send one content of more than 4 MiB',
    query: [{ name: 'size', about: 'Bytes.', type: 'integer', required: true, example: 5000000 }],
    request: { type: bytes },
    status: 201,
    answer: received,
    errors: ['DIGEST_MISMATCH', 'SIZE_MISMATCH', 'USAGE', 'INVALID_DIGEST'],
  },
  {
    id: 'adoptUpload',
    method: 'POST',
    path: '/api/v1/contexts/:project/adopt',
    tag: 'contexts',
    summary: 'Say what a direct upload brought: a list, a pack or a body',
    about: 'Answers for a list what offerContext answers, else how many contents came.',
    request: {
      type: json,
      schema: adoptRequest,
      name: 'AdoptUpload',
      example: { kind: 'pack', upload: 'f00d', digest, size: 8000000 },
    },
    status: 201,
    answer: received,
    errors: [
      'UPLOAD_UNKNOWN',
      'UNSUPPORTED',
      'INVALID_ARCHIVE',
      'DIGEST_MISMATCH',
      'SIZE_MISMATCH',
      'TOO_LARGE',
      'CONTEXT',
      'UNSAFE_PATH',
    ],
  },
  {
    id: 'sendArchive',
    method: 'POST',
    path: '/api/v1/contexts/archive',
    tag: 'contexts',
    summary: 'Send a context as a tar in any compression, or a lone Dockerfile',
    query: [{ name: 'dockerfile', about: 'Its path in the archive.', type: 'string', example: 'deploy/Dockerfile' }],
    request: { type: tar },
    status: 201,
    answer: {
      type: json,
      schema: answers.receivedContext,
      name: 'ReceivedContext',
      example: { id: 'archive-1', dockerfile: { name: 'Dockerfile', text: 'FROM scratch\n' } },
    },
    errors: ['CONTEXT', 'DOCKERFILE', 'INVALID_ARCHIVE', 'UNSAFE_PATH', 'TOO_LARGE', 'USAGE'],
  },
  {
    id: 'beginUpload',
    method: 'POST',
    path: '/api/v1/blobs',
    tag: 'blobs',
    summary: 'Get a URL to put bytes straight into the store',
    about:
      'Send exactly these bytes with all the headers given; the store refuses others. At most 5 GiB. Then `adoptUpload` or `confirmUpload`.',
    request: { type: json, schema: directUploadRequest, name: 'BeginUpload', example: { digest, size: 8000000 } },
    status: 201,
    answer: {
      type: json,
      schema: directUpload,
      name: 'DirectUpload',
      example: {
        upload: 'f00d',
        method: 'PUT',
        url: 'https://bucket.example/…',
        headers: { 'x-amz-checksum-sha256': '…' },
        seconds: 900,
      },
    },
    errors: ['UNSUPPORTED', 'TOO_LARGE', 'INVALID_DOCUMENT'],
  },
  {
    id: 'confirmUpload',
    method: 'POST',
    path: '/api/v1/blobs/:digest/confirm',
    tag: 'blobs',
    summary: 'Make the bytes of a direct upload a blob',
    request: { type: json, schema: confirmRequest, name: 'ConfirmUpload', example: { upload: 'f00d', size: 8000000 } },
    status: 200,
    answer: { type: json, schema: storedBlob, name: 'Blob', example: { digest, size: 8000000 } },
    errors: ['UPLOAD_UNKNOWN', 'DIGEST_MISMATCH', 'SIZE_MISMATCH', 'UNSUPPORTED', 'INVALID_DIGEST'],
  },
  {
    id: 'listImages',
    method: 'GET',
    path: '/api/v1/images',
    tag: 'images',
    summary: 'List images',
    query: [
      {
        name: 'all',
        about: 'Also members of multi-platform images, signatures and attestations.',
        type: 'boolean',
        example: true,
      },
      {
        name: 'filter',
        about: 'dangling=, label=, before=, since=, until=, reference=',
        type: 'string',
        multiple: true,
        example: 'reference=app',
      },
    ],
    status: 200,
    answer: {
      type: json,
      schema: answers.imageSummary,
      name: 'Image',
      about: 'A list of them.',
      example: {
        id: digest,
        names: ['team/app:1.2'],
        digests: [`team/app@${digest}`],
        kind: 'image',
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        committed: 1767225604,
        size: 12345,
        platforms: ['linux/arm64'],
      },
    },
    errors: ['USAGE'],
  },
  {
    id: 'inspectImage',
    method: 'GET',
    path: '/api/v1/images/:name+/inspect',
    tag: 'images',
    summary: 'Everything known about an image, in docker’s shape',
    query: [platform],
    status: 200,
    answer: { type: json, schema: answers.imageDetails, name: 'ImageDetails' },
    errors: ['NOT_FOUND', 'CONFLICT', 'INVALID_REFERENCE', 'INVALID_PLATFORM'],
  },
  {
    id: 'imageHistory',
    method: 'GET',
    path: '/api/v1/images/:name+/history',
    tag: 'images',
    summary: 'How an image was made, newest first',
    query: [platform],
    status: 200,
    answer: { type: json, schema: answers.historyRow, name: 'HistoryRow', about: 'A list of them.' },
    errors: ['NOT_FOUND', 'UNSUPPORTED', 'INVALID_REFERENCE'],
  },
  {
    id: 'tagImage',
    method: 'POST',
    path: '/api/v1/images/:name+/tag',
    tag: 'images',
    summary: 'Give an image another name',
    request: { type: json, schema: tagRequest, name: 'TagImage', example: { target: 'team/app:latest' } },
    status: 201,
    answer: empty,
    errors: ['NOT_FOUND', 'INVALID_REFERENCE', 'INVALID_DOCUMENT'],
  },
  {
    id: 'removeImage',
    method: 'DELETE',
    path: '/api/v1/images/:name+',
    tag: 'images',
    summary: 'Remove a name, or an image with all its names',
    query: [{ name: 'force', about: 'Also an image that has several names, by its ID.', type: 'boolean', example: true }],
    status: 200,
    answer: {
      type: json,
      schema: answers.removedImage,
      name: 'RemovedImage',
      example: { lines: [{ untagged: 'team/app:1.2' }, { deleted: digest }] },
    },
    errors: ['NOT_FOUND', 'CONFLICT', 'INVALID_REFERENCE'],
  },
  {
    id: 'saveImages',
    method: 'POST',
    path: '/api/v1/images/save',
    tag: 'images',
    summary: 'Images as one tar: an OCI layout that docker reads too',
    request: {
      type: json,
      schema: saveRequest,
      name: 'SaveImages',
      example: { names: ['team/app:1.2'], platform: 'linux/arm64' },
    },
    status: 200,
    answer: { type: tar },
    errors: ['NOT_FOUND', 'INVALID_DOCUMENT'],
  },
  {
    id: 'loadImages',
    method: 'POST',
    path: '/api/v1/images/load',
    tag: 'images',
    summary: 'Take the images of an archive in: all of them, or none when anything is wrong',
    query: [platform],
    request: { type: tar },
    status: 200,
    answer: { type: ndjson, schema: answers.loadEvent, name: 'LoadEvent', example: { loaded: 'team/app:1.2', id: digest } },
    errors: ['INVALID_ARCHIVE', 'DIGEST_MISMATCH'],
  },
  {
    id: 'importImage',
    method: 'POST',
    path: '/api/v1/images/import',
    tag: 'images',
    summary: 'Make an image of a root filesystem',
    query: [
      { name: 'name', about: 'Its name.', type: 'string', example: 'base:1' },
      { name: 'change', about: 'A Dockerfile instruction.', type: 'string', multiple: true, example: 'CMD ["sh"]' },
      { name: 'message', about: 'For its history.', type: 'string', example: 'imported' },
      { name: 'source', about: 'Where it comes from, for its history.', type: 'string', example: 'root.tar' },
      platform,
    ],
    request: { type: tar },
    status: 201,
    answer: { type: json, schema: answers.importedImage, name: 'ImportedImage', example: { id: digest } },
    errors: ['INVALID_ARCHIVE', 'UNSAFE_PATH', 'INVALID_REFERENCE', 'DOCKERFILE'],
  },
  {
    id: 'pullImage',
    method: 'POST',
    path: '/api/v1/images/pull',
    tag: 'images',
    summary: 'Fetch an image from another registry',
    request: { type: json, schema: transferRequest, name: 'Transfer', example: { reference: 'debian:12' } },
    status: 200,
    answer: {
      type: ndjson,
      schema: answers.transferEvent,
      name: 'TransferEvent',
      example: { kind: 'pulling', reference: 'debian:12', path: 'library/debian' },
    },
    errors: ['INVALID_REFERENCE', 'INVALID_PLATFORM', 'USAGE'],
  },
  {
    id: 'pushImage',
    method: 'POST',
    path: '/api/v1/images/push',
    tag: 'images',
    summary: 'Send an image to another registry',
    request: {
      type: json,
      schema: transferRequest,
      name: 'Transfer',
      example: { reference: 'registry.example.com/team/app:1.2' },
    },
    status: 200,
    answer: {
      type: ndjson,
      schema: answers.transferEvent,
      name: 'TransferEvent',
      example: { kind: 'pushing', repository: 'registry.example.com/team/app' },
    },
    errors: ['INVALID_REFERENCE', 'INVALID_PLATFORM', 'USAGE'],
  },
];
