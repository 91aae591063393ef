// OCI image layouts made with tar and this file alone, so that no code under test makes what tests compare with.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from './command.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly os: string; readonly architecture: string };
  readonly annotations?: Record<string, string>;
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return `sha256:${hash.digest('hex')}`;
}

/** An empty layout at `folder`. */
export async function makeLayout(folder: string): Promise<void> {
  await mkdir(join(folder, 'blobs/sha256'), { recursive: true });
  await writeFile(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
}

async function putFile(folder: string, file: string, mediaType: string): Promise<Descriptor> {
  const digest = await digestOf(file);
  await rename(file, join(folder, 'blobs/sha256', digest.slice(7)));
  return { mediaType, digest, size: (await stat(join(folder, 'blobs/sha256', digest.slice(7)))).size };
}

export async function putJson(folder: string, document: object, mediaType: string): Promise<Descriptor> {
  const file = join(folder, 'document');
  await writeFile(file, JSON.stringify(document));
  return putFile(folder, file, mediaType);
}

/** An uncompressed layer with one file of `bytes` random bytes. */
export async function randomLayer(folder: string, bytes: number, name = 'file'): Promise<Descriptor> {
  const work = await mkdtemp(join(folder, 'layer-'));
  const handle = await open(join(work, name), 'w');
  // Random enough: a keyed stream, a megabyte at a time, so that a gigabyte does not take long to make.
  const block = createHash('sha256').update(`${name}${bytes}${Math.random()}`).digest();
  const chunk = Buffer.alloc(1 << 20);
  for (let at = 0; at < chunk.length; at += 32) createHash('sha256').update(block).update(String(at)).digest().copy(chunk, at);
  for (let left = bytes; left > 0; left -= chunk.length) {
    chunk.writeDoubleLE(left, 0);
    await handle.write(chunk, 0, Math.min(left, chunk.length));
  }
  await handle.close();
  await must(['tar', '-C', work, '--owner=0', '--group=0', '--mtime=@0', '-cf', `${work}.tar`, name]);
  await rm(work, { recursive: true });
  return putFile(folder, `${work}.tar`, 'application/vnd.oci.image.layer.v1.tar');
}

/** A manifest over uncompressed layers, so that a layer's digest is its diffID. */
export async function putImage(folder: string, layers: readonly Descriptor[], architecture = 'amd64'): Promise<Descriptor> {
  const config = await putJson(
    folder,
    {
      architecture,
      os: 'linux',
      config: { Cmd: ['/file'] },
      rootfs: { type: 'layers', diff_ids: layers.map((l) => l.digest) },
      history: layers.map(() => ({ created_by: 'test' })),
    },
    'application/vnd.oci.image.config.v1+json',
  );
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = await putJson(folder, { schemaVersion: 2, mediaType, config, layers }, mediaType);
  return { ...manifest, platform: { os: 'linux', architecture } };
}

export async function putIndex(folder: string, manifests: readonly Descriptor[]): Promise<Descriptor> {
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  return putJson(folder, { schemaVersion: 2, mediaType, manifests }, mediaType);
}

/** Names the images of the layout: `skopeo copy oci:FOLDER:NAME ...`. */
export async function nameAll(folder: string, named: Readonly<Record<string, Descriptor>>): Promise<void> {
  const manifests = Object.entries(named).map(([name, { platform: _, ...descriptor }]) => ({
    ...descriptor,
    annotations: { 'org.opencontainers.image.ref.name': name },
  }));
  await writeFile(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
}
