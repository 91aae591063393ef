// The routes that runners use, and nothing else: each takes the token of the job that its path names. They are an app of their own, so
// that no team token opens them and no job token opens anything else.
import * as z from 'zod/mini';
import type { MeterReading } from '../cost/meter.ts';
import type { ErrorDocument } from '../errors.ts';
import { SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import {
  bodiesBody,
  claimBody,
  completeBody,
  confirmBody,
  failBody,
  jobUsage,
  logBody,
  lookupBody,
  readBody,
  writeBody,
} from '../workflow/job.ts';
import type { JobService } from '../workflow/job-service.ts';
import { type JobId, readJobToken } from '../workflow/job-token.ts';
import { unrestricted } from './access.ts';
import { type ApiFetch, type ApiResponse, errorResponse, json, readJson } from './http.ts';
import { type Call, dispatch, type Route, route } from './router.ts';
import { checked } from './schema.ts';

export interface JobApiParts {
  readonly jobs: JobService;
  readonly key: Uint8Array;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

export function createJobApi(parts: JobApiParts): ApiFetch {
  const routes = jobRoutes(parts);
  return async (request) => {
    try {
      // Each route checks the token of its job.
      return await dispatch(routes, request, unrestricted);
    } catch (error) {
      return errorResponse(error);
    }
  };
}

function usageOf(value: unknown): MeterReading | undefined {
  const parsed = z.safeParse(jobUsage, value);
  return parsed.success ? (parsed.data as MeterReading) : undefined;
}

export function jobRoutes({ jobs, key, clock }: JobApiParts): readonly Route[] {
  const job = (name: string, handle: (id: JobId, body: unknown) => Promise<unknown>): Route =>
    route('POST', `/api/v1/jobs/:build/:stage/${name}`, async ({ request, params }: Call): Promise<ApiResponse> => {
      const [, token] = /^Bearer (\S+)$/i.exec(request.headers.get('authorization') ?? '') ?? [];
      const id = readJobToken(key, token ?? '', clock() / 1000);
      if (params.build !== id.build || params.stage !== String(id.stage)) {
        throw new SlipwayError('DENIED', 'this token is for another job');
      }
      return json((await handle(id, await readJson(request))) ?? {});
    });
  return [
    job('claim', (id) => jobs.claim(id)),
    job('lookup', async (id, body) => ({ found: await jobs.lookup(id, checked(lookupBody, body, 'lookup').struct) })),
    job('save', (id, body) => {
      const { struct, diffId, blob, size, made } = checked(claimBody, body, 'claim');
      return jobs.save(id, struct, { diffId: diffId as Digest, blob: blob as Digest, size, made });
    }),
    job('blobs/read', (id, body) => jobs.read(id, checked(readBody, body, 'blob').digest as Digest)),
    job('blobs/write', (id, body) => {
      const { digest, size } = checked(writeBody, body, 'blob');
      return jobs.write(id, { digest: digest as Digest, size });
    }),
    job('blobs/confirm', (id, body) => {
      const { id: upload, digest, size } = checked(confirmBody, body, 'blob');
      return jobs.confirm(id, upload, { digest: digest as Digest, size });
    }),
    job('bodies', async (id, body) => ({
      places: await jobs.bodies(id, checked(bodiesBody, body, 'bodies').digests as Digest[]),
    })),
    job('log', (id, body) => {
      const { first, events } = checked(logBody, body, 'log');
      return jobs.log(id, first, events);
    }),
    job('heartbeat', (id) => jobs.heartbeat(id)),
    job('complete', (id, body) => {
      const { place, used } = checked(completeBody, body, 'completion');
      return jobs.complete(id, place, usageOf(used));
    }),
    job('fail', (id, body) => {
      const { failure, place, used } = checked(failBody, body, 'failure');
      return jobs.fail(id, failure as unknown as ErrorDocument, place, usageOf(used));
    }),
  ];
}
