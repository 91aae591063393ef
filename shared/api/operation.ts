// How an operation of the control API is described, and what descriptions share.
import type * as z from 'zod/mini';
import type { ErrorCode } from '../errors.ts';
import { nothing } from './answers.ts';

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
  readonly tag: 'builds' | 'contexts' | 'images' | 'transfers' | 'blobs' | 'about';
  readonly summary: string;
  readonly about?: string;
  readonly query?: readonly Parameter[];
  readonly request?: Body;
  readonly status: number;
  readonly answer: Body;
  /** Another answer that is no error: what some homes give. */
  readonly otherwise?: { readonly status: number; readonly answer: Body };
  readonly errors: readonly ErrorCode[];
}

export const json = 'application/json';
export const ndjson = 'application/x-ndjson';
export const tar = 'application/x-tar';
export const bytes = 'application/octet-stream';

// For examples.
export const digest = `sha256:${'7d'.repeat(32)}`;
export const build = '019a8b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b';

export const empty: Body = { type: json, schema: nothing, name: 'Nothing', example: {} };
