// Vitest global setup: one local AWS for all test files of a run; `inject('aws')` in a test gives its endpoint.
import type { TestProject } from 'vitest/node';
import { startAws, whyNoAws } from './aws.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The endpoint, or why there is none. */
    aws: { readonly endpoint: string } | { readonly missing: string };
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const missing = whyNoAws();
  if (missing !== undefined) {
    project.provide('aws', { missing });
    return async () => undefined;
  }
  const aws = await startAws();
  project.provide('aws', { endpoint: aws.endpoint });
  return aws.stop;
}
