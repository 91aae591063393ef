// The operations on builds, described.
import * as answers from './answers.ts';
import { maxBuildRequest } from './builds.ts';
import { build, digest, empty, json, ndjson, type Operation } from './operation.ts';
import { startRequest } from './start-request.ts';

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

export const buildOperations: readonly Operation[] = [
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
      { name: 'project', about: 'Only those of this project.', type: 'string', example: 'default' },
      { name: 'cost', about: '`true`: with what each used, and what that costs.', type: 'boolean', example: true },
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
];
