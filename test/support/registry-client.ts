// A registry in memory and a short way to speak to it, for the registry's own tests.

import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import { createRegistry, type Registry } from '../../shared/registry/app.ts';
import type { RegistryParts } from '../../shared/registry/parts.ts';
import { type MemoryHome, memoryHome } from './memory-home.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The wire code of the first error, if the body is an error document. */
  readonly code: string | undefined;
}

export interface TestRegistry {
  readonly home: MemoryHome;
  readonly registry: Registry;
  readonly faults: unknown[];
  ask(method: string, path: string, body?: string | Uint8Array<ArrayBuffer>, headers?: Record<string, string>): Promise<Answer>;
  pushBlob(name: string, bytes: string): Promise<Digest>;
  /** A one-layer image; answers its digest. */
  pushImage(name: string, tag: string, content: string, extra?: object): Promise<Digest>;
}

export function testRegistry(extra: Partial<RegistryParts> = {}): TestRegistry {
  const home = memoryHome();
  const faults: unknown[] = [];
  const registry = createRegistry({ ...home, requestId: () => 'r1', onFault: ({ error }) => faults.push(error), ...extra });
  const ask: TestRegistry['ask'] = async (method, path, body, headers = {}) => {
    const response = await registry.fetch(
      new Request(`http://registry.test${path}`, { method, headers, ...(body === undefined ? {} : { body }) }),
    );
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, code: codeOf(text) };
  };
  const pushBlob: TestRegistry['pushBlob'] = async (name, bytes) => {
    const digest = sha256(bytes);
    const answer = await ask('POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, bytes);
    if (answer.status !== 201) throw new Error(answer.text);
    return digest;
  };
  const pushImage: TestRegistry['pushImage'] = async (name, tag, content, more = {}) => {
    const layer = await pushBlob(name, content);
    const config = await pushBlob(name, '{}');
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaType.ociManifest,
      config: { mediaType: mediaType.ociConfig, digest: config, size: 2 },
      layers: [{ mediaType: mediaType.ociLayerTar, digest: layer, size: Buffer.byteLength(content) }],
      ...more,
    });
    const answer = await ask('PUT', `/v2/${name}/manifests/${tag}`, manifest, { 'content-type': mediaType.ociManifest });
    if (answer.status !== 201) throw new Error(answer.text);
    return sha256(manifest);
  };
  return { home, registry, faults, ask, pushBlob, pushImage };
}

function codeOf(text: string): string | undefined {
  if (!text.startsWith('{"errors"')) return undefined;
  const document = JSON.parse(text) as { errors: { code: string }[] };
  return document.errors[0]?.code;
}
