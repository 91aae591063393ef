// Base images for tests, made from the machine's own packages without any registry. They are written with GNU tar and a little JSON,
// never with the code under test, as one tar that is an OCI layout and a docker-archive at once: `docker load`, `podman load`,
// `skopeo copy docker-archive:`, `skopeo copy oci-archive:` and `slipway load` all take it.
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, chmod, lchown, link, mkdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { must } from './command.ts';
import { busyboxRoot, debianRoot } from './roots.ts';
import { scratch } from './scratch.ts';

export interface BaseImage {
  /** As a Dockerfile names it in FROM. */
  readonly reference: string;
  /** The tar. */
  readonly archive: string;
}

export const busyboxReference = 'localhost/busybox:base';
export const debianReference = 'localhost/debian:base';
/** busybox and a second layer full of what builds stumble over: users, links, odd modes, extended attributes, things to delete. */
export const fixtureReference = 'localhost/fixture:base';
/** busybox with ONBUILD triggers. */
export const onbuildReference = 'localhost/onbuild:base';

const epoch = '2020-01-02T03:04:05Z';
const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Change it when what is written below changes: it is part of the cached files' names. */
const version = 'v1';

function architecture(): string {
  const names: Record<string, string> = { x64: 'amd64', arm64: 'arm64' };
  return names[process.arch] ?? process.arch;
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

/** One deterministic layer tar of a folder: sorted, numeric owners, extended attributes. */
export async function layerOf(folder: string, to: string): Promise<void> {
  await must([
    ...['tar', '--sort=name', '--numeric-owner', '--mtime=@1577934245', '--format=pax', '--xattrs', '--xattrs-include=*'],
    ...['--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime', '-C', folder, '-cf', to, '.'],
  ]);
}

export interface ArchiveImage {
  readonly reference: string;
  /** Uncompressed layer tars, bottom first. */
  readonly layers: readonly string[];
  /** `config` of the image's config. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** Writes one image as a tar that is an OCI layout and a docker-archive at once. */
export async function writeArchive(image: ArchiveImage, to: string): Promise<void> {
  await using folder = await scratch('slw-archive-');
  const blobs = join(folder.path, 'blobs/sha256');
  await mkdir(blobs, { recursive: true });
  const json = async (value: unknown): Promise<{ digest: string; size: number }> => {
    const bytes = Buffer.from(JSON.stringify(value));
    const digest = createHash('sha256').update(bytes).digest('hex');
    await writeFile(join(blobs, digest), bytes);
    return { digest: `sha256:${digest}`, size: bytes.length };
  };
  const layers: { digest: string; size: number }[] = [];
  for (const file of image.layers) {
    const digest = await sha256(file);
    await must(['cp', '--reflink=auto', file, join(blobs, digest)]);
    layers.push({ digest: `sha256:${digest}`, size: (await stat(file)).size });
  }
  const config = await json({
    created: epoch,
    architecture: architecture(),
    os: 'linux',
    config: image.config,
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.digest) },
    history: layers.map((_, index) => ({ created: epoch, created_by: `base layer ${index + 1}` })),
  });
  const manifest = await json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
    layers: layers.map((layer) => ({ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...layer })),
  });
  const blob = (digest: string) => `blobs/sha256/${digest.slice('sha256:'.length)}`;
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [
      {
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        ...manifest,
        annotations: {
          'io.containerd.image.name': image.reference,
          'org.opencontainers.image.ref.name': image.reference.slice(image.reference.lastIndexOf(':') + 1),
        },
      },
    ],
  };
  const docker = [
    { Config: blob(config.digest), RepoTags: [image.reference], Layers: layers.map((layer) => blob(layer.digest)) },
  ];
  await writeFile(join(folder.path, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  await writeFile(join(folder.path, 'index.json'), JSON.stringify(index));
  await writeFile(join(folder.path, 'manifest.json'), JSON.stringify(docker));
  await must(['tar', '--sort=name', '--mtime=@1577934245', '--owner=0', '--group=0', '-C', folder.path, '-cf', to, '.']);
}

const cacheFolder = (): string => process.env.SLIPWAY_TEST_CACHE ?? join(tmpdir(), 'slipway-test-images');

/** Makes a file once; several may ask at the same time, in one process or more: each makes its own, and all are equal. */
async function cached(name: string, make: (to: string) => Promise<void>): Promise<string> {
  const folder = cacheFolder();
  await mkdir(folder, { recursive: true });
  const file = join(folder, name);
  try {
    await access(file);
    return file;
  } catch {
    const part = `${file}.${randomUUID()}.part`;
    try {
      await make(part);
      await rename(part, file);
    } finally {
      await rm(part, { force: true });
    }
    return file;
  }
}

const busyboxLayer = () => cached(`busybox-${version}.layer.tar`, async (to) => layerOf(await busyboxRoot(), to));
const debianLayer = () => cached(`debian-${version}.layer.tar`, async (to) => layerOf(await debianRoot(), to));

const shell = { Env: [path], Cmd: ['sh'] };

export async function busyboxImage(): Promise<BaseImage> {
  const layer = await busyboxLayer();
  const image: ArchiveImage = { reference: busyboxReference, layers: [layer], config: shell };
  return { reference: busyboxReference, archive: await cached(`busybox-${version}.tar`, (to) => writeArchive(image, to)) };
}

/** Debian minbase, over 100 MB. */
export async function debianImage(): Promise<BaseImage> {
  const layer = await debianLayer();
  const image: ArchiveImage = { reference: debianReference, layers: [layer], config: { Env: [path], Cmd: ['bash'] } };
  return { reference: debianReference, archive: await cached(`debian-${version}.tar`, (to) => writeArchive(image, to)) };
}

/** The second layer of the fixture image. Needs root: it has owners, a device and capabilities. */
async function fixtureLayer(to: string): Promise<void> {
  await using folder = await scratch('slw-fixture-');
  const at = (name: string) => join(folder.path, name);
  const file = async (name: string, content: string, mode = 0o644, uid = 0, gid = 0) => {
    await writeFile(at(name), content);
    await lchown(at(name), uid, gid);
    await chmod(at(name), mode);
  };
  const folderAt = async (name: string, mode = 0o755, uid = 0, gid = 0) => {
    await mkdir(at(name), { recursive: true });
    await lchown(at(name), uid, gid);
    await chmod(at(name), mode);
  };
  await chmod(folder.path, 0o755);
  await folderAt('etc');
  const users = ['root:x:0:0:root:/root:/bin/sh', 'app:x:1000:1000:App:/home/app:/bin/sh', 'web:x:1001:50::/nowhere:/bin/false'];
  await file('etc/passwd', `${users.join('\n')}\n`);
  await file('etc/group', 'root:x:0:\napp:x:1000:\nstaff:x:50:app\nwheel:x:10:root,app\n');
  await folderAt('home');
  await folderAt('home/app', 0o700, 1000, 1000);
  await folderAt('base');
  await folderAt('base/real', 0o2775, 1000, 50);
  await file('base/real/kept', 'kept\n');
  await symlink('real', at('base/link'));
  await symlink('/base/real', at('base/absolute'));
  await symlink('nowhere', at('base/dangling'));
  await symlink('../../../base/real', at('base/upwards'));
  await symlink('kept', at('base/real/to-kept'));
  await file('base/file', 'file\n', 0o640, 1000, 1000);
  await file('base/setuid', 'setuid\n', 0o4755);
  await folderAt('base/sticky', 0o1777);
  await folderAt('base/doomed');
  await folderAt('base/doomed/deep');
  await file('base/doomed/one', '1\n');
  await file('base/doomed/deep/two', '2\n');
  await folderAt('base/reborn');
  await file('base/reborn/old', 'old\n');
  await folderAt('base/reborn/sub');
  await file('base/reborn/sub/old', 'old\n');
  await folderAt('base/moved');
  await file('base/moved/inside', 'inside\n');
  await file('base/becomes-folder', 'was a file\n');
  await folderAt('base/becomes-file');
  await file('base/becomes-file/inside', 'was in a folder\n');
  await file('base/hard-1', 'hard\n');
  await link(at('base/hard-1'), at('base/hard-2'));
  await link(at('base/hard-1'), at('base/hard-3'));
  await must(['mkfifo', at('base/fifo')]);
  await must(['mknod', '-m', '666', at('base/null'), 'c', '1', '3']);
  await file('base/capable', '#!/bin/sh\n', 0o755);
  await must(['setcap', 'cap_net_bind_service+ep', at('base/capable')]);
  await file('base/labelled', 'labelled\n');
  await must(['setfattr', '-n', 'user.slipway', '-v', 'a value', at('base/labelled')]);
  await layerOf(folder.path, to);
}

export async function fixtureImage(): Promise<BaseImage> {
  const layers = [await busyboxLayer(), await cached(`fixture-${version}.layer.tar`, fixtureLayer)];
  const config = {
    ...shell,
    Env: [path, 'FROM_BASE=base value'],
    Labels: { base: 'yes', changed: 'in the base' },
    ExposedPorts: { '1234/tcp': {} },
    Volumes: { '/base-volume': {} },
    WorkingDir: '/base',
  };
  const image: ArchiveImage = { reference: fixtureReference, layers, config };
  return { reference: fixtureReference, archive: await cached(`fixture-${version}.tar`, (to) => writeArchive(image, to)) };
}

export async function onbuildImage(): Promise<BaseImage> {
  const OnBuild = [
    'ARG WHO=nobody',
    'COPY trigger.txt /triggered/',
    'RUN echo "built by $WHO" > /triggered/run',
    'LABEL triggered=yes',
    'WORKDIR /triggered',
  ];
  const image: ArchiveImage = { reference: onbuildReference, layers: [await busyboxLayer()], config: { ...shell, OnBuild } };
  return { reference: onbuildReference, archive: await cached(`onbuild-${version}.tar`, (to) => writeArchive(image, to)) };
}
