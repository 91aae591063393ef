// The operations that move images between registries, described.
import * as answers from './answers.ts';
import { empty, build as id, json, ndjson, type Operation } from './operation.ts';
import { transferRequest } from './transfer.ts';

const about =
  'A home that can answer for as long as it takes answers with the events, the last of which is `done`, or a line with an `error`; the transfer ends with the request. An account answers 202 with the id of a transfer that goes on by itself: its events are at `/api/v1/transfers/ID/events`. Give a new clientToken for each transfer and the same one to repeat a call whose answer was lost. `login` is for the other registry; it is not kept.';

const otherwise: NonNullable<Operation['otherwise']> = {
  status: 202,
  answer: {
    type: json,
    schema: answers.startedTransfer,
    name: 'StartedTransfer',
    about: 'It is carried out elsewhere: follow it.',
    example: { id },
  },
};
const errors: Operation['errors'] = ['INVALID_REFERENCE', 'INVALID_PLATFORM', 'INVALID_DOCUMENT', 'USAGE', 'CONFLICT'];

export const transferOperations: readonly Operation[] = [
  {
    id: 'pullImage',
    method: 'POST',
    path: '/api/v1/images/pull',
    tag: 'images',
    summary: 'Fetch an image from another registry',
    about,
    request: {
      type: json,
      schema: transferRequest,
      name: 'Transfer',
      example: { reference: 'debian:12', platform: 'linux/arm64', clientToken: 'b1c2' },
    },
    status: 200,
    answer: {
      type: ndjson,
      schema: answers.transferEvent,
      name: 'TransferEvent',
      example: { kind: 'pulling', reference: 'debian:12', path: 'library/debian' },
    },
    otherwise,
    errors,
  },
  {
    id: 'pushImage',
    method: 'POST',
    path: '/api/v1/images/push',
    tag: 'images',
    summary: 'Send an image to another registry',
    about,
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
    otherwise,
    errors,
  },
  {
    id: 'getTransfer',
    method: 'GET',
    path: '/api/v1/transfers/:id',
    tag: 'transfers',
    summary: 'A pull or push that goes on by itself',
    about: 'Remembered for a week. In homes that answer pulls and pushes with their events there are none.',
    status: 200,
    answer: {
      type: json,
      schema: answers.transferFacts,
      name: 'TransferFacts',
      example: {
        id,
        verb: 'pull',
        reference: 'debian:12',
        state: 'running',
        created: 1767225600000,
        started: 1767225600400,
        by: 'ci',
      },
    },
    errors: ['NOT_FOUND'],
  },
  {
    id: 'transferEvents',
    method: 'GET',
    path: '/api/v1/transfers/:id/events',
    tag: 'transfers',
    summary: 'Follow a pull or push',
    about:
      'One event a line, as they come, to the last one (`done` or `failed`). Each has a number; numbers have no gaps. Of the progress of a layer the newest is told, once a second. An answer may end before the transfer does: ask again after the last number seen. Empty lines are signs of life. A transfer whose function died ends with `failed` half a minute after.',
    query: [{ name: 'after', about: 'The number of the last event seen; 0 without it.', type: 'integer', example: 17 }],
    status: 200,
    answer: {
      type: ndjson,
      schema: answers.transferLine,
      name: 'TransferLine',
      example: { number: 1, kind: 'pulling', reference: 'debian:12', path: 'library/debian' },
    },
    errors: ['NOT_FOUND', 'USAGE'],
  },
  {
    id: 'cancelTransfer',
    method: 'POST',
    path: '/api/v1/transfers/:id/cancel',
    tag: 'transfers',
    summary: 'Stop a pull or push',
    about:
      'It stops within seconds; its last event is then `failed` with the code CANCELLED, unless it was done by then. No tag has moved. Nothing happens to one that has ended.',
    status: 202,
    answer: empty,
    errors: ['NOT_FOUND'],
  },
];
