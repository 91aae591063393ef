// The OpenAPI 3.1 document of the control API, out of the table of operations and the schemas that check requests.
import * as z from 'zod/mini';
import { type ErrorCode, errorTable } from '../errors.ts';
import { version } from '../version.ts';
import { errorAnswer } from './answers.ts';
import type { Body, Operation, Parameter } from './operation.ts';
import { operations } from './operations.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** Of any operation: what is wrong with a request before it is looked at, and what goes wrong behind it. */
const everywhere: readonly ErrorCode[] = ['UNAUTHORIZED', 'TOO_MANY_REQUESTS', 'STORE', 'INTERNAL'];
/** Whose answers are lists. */
const lists: ReadonlySet<string> = new Set(['listImages', 'imageHistory']);

const schemaOf = (schema: z.ZodMiniType): Json => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input' }) as Record<string, Json>;
  return rest;
};

export function openApi(): Json {
  const schemas: Record<string, Json> = { Error: schemaOf(errorAnswer) };
  const content = ({ type, schema, name, example }: Body, list = false): Json => {
    if (schema === undefined || name === undefined) {
      return { [type]: { schema: type === 'application/json' ? { type: 'object' } : { type: 'string', format: 'binary' } } };
    }
    schemas[name] ??= schemaOf(schema);
    const reference: Json = { $ref: `#/components/schemas/${name}` };
    const shown: Json = list ? { type: 'array', items: reference } : reference;
    return {
      [type]: { schema: shown, ...(example === undefined ? {} : { example: (list ? [example] : example) as Json }) },
    };
  };
  const paths: Record<string, Record<string, Json>> = {};
  for (const operation of operations) {
    const path = operation.path.replace(/:([a-zA-Z]+)\+?/g, '{$1}');
    paths[path] ??= {};
    paths[path][operation.method.toLowerCase()] = described(operation, content);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Slipway',
      version,
      description:
        'Builds container images and keeps them. Every request carries a login (`Authorization`: a bearer token, or a name and password). An error is a document with a stable code; a stream that fails half-way ends with a line that has one. Limits: a JSON request of 64 MiB (a build: 8 MiB), less where a gateway is in front (an account: 6 MB in all); larger things travel as packs and direct uploads.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }, { basic: [] }],
    paths,
    components: {
      schemas,
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' }, basic: { type: 'http', scheme: 'basic' } },
    },
  };
}

function described(operation: Operation, content: (body: Body, list?: boolean) => Json): Json {
  const { request, answer, otherwise } = operation;
  const inPath = [...operation.path.matchAll(/:([a-zA-Z]+)(\+?)/g)].map(
    ([, name, greedy]): Json => ({
      name: name!,
      in: 'path',
      required: true,
      description: greedy === '+' ? 'May have slashes, which are not encoded.' : (about[name!] ?? ''),
      schema: { type: 'string' },
    }),
  );
  return {
    operationId: operation.id,
    tags: [operation.tag],
    summary: operation.summary,
    ...(operation.about === undefined ? {} : { description: operation.about }),
    parameters: [...inPath, ...(operation.query ?? []).map(inQuery)],
    ...(request === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            ...(request.about === undefined ? {} : { description: request.about }),
            content: content(request),
          },
        }),
    responses: {
      [operation.status]: { description: answer.about ?? operation.summary, content: content(answer, lists.has(operation.id)) },
      ...(otherwise === undefined
        ? {}
        : {
            [otherwise.status]: { description: otherwise.answer.about ?? operation.summary, content: content(otherwise.answer) },
          }),
      ...failures([...operation.errors, ...everywhere]),
    },
  };
}

const about: Readonly<Record<string, string>> = {
  id: 'As it was answered.',
  project: 'Letters, digits, and . _ - inside; at most 128 characters.',
  digest: 'sha256:<64 hex digits>',
};

const inQuery = ({ name, about: description, type, required, multiple, example }: Parameter): Json => ({
  name,
  in: 'query',
  description,
  required: required === true,
  schema: multiple ? { type: 'array', items: { type } } : { type },
  ...(example === undefined ? {} : { example: multiple ? [example] : example }),
});

/** One response a status: codes share them. */
function failures(codes: readonly ErrorCode[]): Record<string, Json> {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of new Set(codes)) {
    const { status } = errorTable[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    Array.from(byStatus, ([status, names]) => [
      String(status),
      {
        description: names.join(', '),
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    ]),
  );
}
