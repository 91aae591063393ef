// Every operation of the control API, described: what openapi.ts makes its document of. The schemas of requests are those that check
// them (they stand beside the routes); a test holds this table against the routes and real answers against the schemas.
import { about } from './about.ts';
import { buildOperations } from './build-operations.ts';
import { contextOperations } from './context-operations.ts';
import { imageOperations } from './image-operations.ts';
import { json, type Operation } from './operation.ts';
import { transferOperations } from './transfer-operations.ts';

const aboutOperations: readonly Operation[] = [
  {
    id: 'about',
    method: 'GET',
    path: '/api/v1',
    tag: 'about',
    summary: 'What this is; also tells whether a login is good',
    status: 200,
    answer: {
      type: json,
      schema: about,
      name: 'About',
      example: {
        name: 'slipway',
        version: '0.1.0',
        api: 'v1',
        registry: 'images.example.com',
        limits: { request: 4_500_000, answer: 2_500_000 },
      },
    },
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
];

export const operations: readonly Operation[] = [
  ...aboutOperations,
  ...buildOperations,
  ...contextOperations,
  ...imageOperations,
  ...transferOperations,
];
