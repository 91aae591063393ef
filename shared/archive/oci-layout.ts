// OCI image layouts (image-layout.md) in an archive, as docker, containerd, BuildKit, podman and skopeo write them.
import { SlipwayError } from '../errors.ts';
import type { Name } from '../image/commit.ts';
import { isImageManifest, isRunnable, nestingLimit, openImage, readStored, type Stored } from '../image/read.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { asObject, parseJson } from '../oci/fields.ts';
import { isForeign, parseIndex } from '../oci/manifest.ts';
import { choosePlatform, formatPlatform, hostPlatform, type Platform } from '../oci/platform.ts';
import type { Blobs, Options } from '../store/blobs.ts';
import { parseName, readManifestJson } from './docker-archive.ts';
import type { Intake } from './intake.ts';
import type { ArchivedImage } from './load.ts';
import { annotation } from './save.ts';

type LayoutOptions = Options & { readonly platform?: Platform };

export async function readLayout(blobs: Blobs, intake: Intake, options: LayoutOptions): Promise<readonly ArchivedImage[]> {
  checkVersion(intake.documents.get('oci-layout'));
  const index = parseIndex(intake.documents.get('index.json')!);
  const legacy = namesByConfig(intake);
  const images = new Map<Digest, ArchivedImage>();
  for (const [i, descriptor] of index.manifests.entries()) {
    const where = `index.json.manifests[${i}]`;
    const stored = await readDocument(blobs, intake, descriptor, where, options);
    const { digest, note } = await chosen(blobs, intake, stored, where, options);
    const own = nameOf(descriptor, where);
    const names = own ?? (await legacyNames(blobs, legacy, digest, options));
    const known = images.get(digest)?.names ?? [];
    const merged = [
      ...known,
      ...names.filter((name) => !known.some((k) => k.repository === name.repository && k.tag === name.tag)),
    ];
    images.set(digest, { digest, names: merged, ...(note !== undefined && { note }) });
  }
  return [...images.values()];
}

function checkVersion(bytes: Uint8Array | undefined): void {
  if (bytes === undefined) throw new SlipwayError('INVALID_ARCHIVE', 'the archive has index.json but no oci-layout');
  const { imageLayoutVersion } = asObject(parseJson(bytes, 'oci-layout', 4096), 'oci-layout');
  if (imageLayoutVersion === '1.0.0') return;
  throw new SlipwayError('UNSUPPORTED', `oci-layout: version ${JSON.stringify(imageLayoutVersion)}; this release reads 1.0.0`);
}

/** The name a descriptor carries; a bare tag says nothing of the repository. */
function nameOf({ annotations = {} }: Descriptor, where: string): readonly Name[] | undefined {
  const whole = annotations[annotation.imageName];
  if (whole !== undefined) return [parseName(whole, `${where}.annotations["${annotation.imageName}"]`)];
  const ref = annotations[annotation.refName];
  if (ref === undefined || !/[:/]/.test(ref)) return undefined;
  return [parseName(ref, `${where}.annotations["${annotation.refName}"]`)];
}

/** Writers that give names only in manifest.json: by the config's digest. */
function namesByConfig(intake: Intake): ReadonlyMap<Digest, readonly Name[]> {
  const bytes = intake.documents.get('manifest.json');
  if (bytes === undefined) return new Map();
  return new Map(
    readManifestJson(bytes)
      .filter(({ names }) => names.length > 0)
      .map(({ config, names }, i) => [intake.member(config, `manifest.json[${i}].Config`).digest, names]),
  );
}

async function legacyNames(
  blobs: Blobs,
  legacy: ReadonlyMap<Digest, readonly Name[]>,
  digest: Digest,
  options: Options,
): Promise<readonly Name[]> {
  if (legacy.size === 0) return [];
  const { document } = await readStored(blobs, digest, undefined, options);
  const configs =
    document.kind === 'manifest'
      ? [document.manifest.config.digest]
      : await Promise.all(
          document.index.manifests
            .filter(isRunnable)
            .map(async (member) => (await openImage(blobs, member.digest, {}, options)).manifest.config.digest),
        );
  return configs.flatMap((config) => legacy.get(config) ?? []);
}

/** A document that the archive itself has, of the size that was announced. */
async function readDocument(
  blobs: Blobs,
  intake: Intake,
  descriptor: Descriptor,
  where: string,
  options: Options,
): Promise<Stored> {
  const { digest, size } = descriptor;
  if (!intake.has(digest)) throw missing(where, digest);
  const stored = await readStored(blobs, digest, descriptor.mediaType, options);
  if (stored.bytes.length !== size) {
    throw new SlipwayError('SIZE_MISMATCH', `${where}: ${digest} has ${stored.bytes.length} bytes, the archive says ${size}`);
  }
  return stored;
}

const missing = (where: string, digest: Digest): SlipwayError =>
  new SlipwayError('INVALID_ARCHIVE', `${where}: the archive does not have the blob ${digest}`, {
    hint: 'The archive is incomplete: save it again.',
    details: { missing: [digest] },
  });

/** Everything the manifest needs came with the archive. */
function checkWhole(intake: Intake, { document }: Stored, where: string): void {
  if (document.kind !== 'manifest') return;
  const { config, layers } = document.manifest;
  for (const { digest } of [config, ...layers.filter((layer) => !isForeign(layer))]) {
    if (!intake.has(digest)) throw missing(where, digest);
  }
}

/**
 * What becomes of one entry of the layout: itself; of an index, the image for the platform asked for; of an index that lacks members
 * (docker saves what it pulled: one platform of many), the one image that is there for this machine.
 */
async function chosen(
  blobs: Blobs,
  intake: Intake,
  stored: Stored,
  where: string,
  options: LayoutOptions,
): Promise<{ readonly digest: Digest; readonly note?: string }> {
  if (stored.document.kind === 'manifest') {
    checkWhole(intake, stored, where);
    if (options.platform || isImageManifest(stored.document.manifest)) await openImage(blobs, stored.digest, options, options);
    return { digest: stored.digest };
  }
  const members = await memberImages(blobs, intake, stored, where, options, 1);
  const there = members.filter(({ whole }) => whole);
  if (options.platform === undefined && there.length === members.length) return { digest: stored.digest };
  const images = there.filter(({ descriptor }) => isRunnable(descriptor)).map(({ descriptor }) => descriptor);
  const pick = choosePlatform(images, options.platform ?? hostPlatform()) ?? (options.platform ? undefined : images[0]);
  if (pick === undefined) {
    const offered = images.flatMap(({ platform }) => (platform ? [formatPlatform(platform)] : []));
    throw new SlipwayError(
      'NOT_FOUND',
      `${where}: the archive has no image for ${formatPlatform(options.platform ?? hostPlatform())}`,
      {
        hint: offered.length > 0 ? `It has ${offered.join(', ')}.` : 'It has none of the images that its index names.',
      },
    );
  }
  await openImage(blobs, pick.digest, {}, options);
  if (options.platform) return { digest: pick.digest };
  const platform = pick.platform ? formatPlatform(pick.platform) : 'one platform';
  return {
    digest: pick.digest,
    note: `the archive has only a part of ${stored.digest}: ${platform} was loaded, and has an ID of its own`,
  };
}

interface MemberImage {
  readonly descriptor: Descriptor;
  /** All of it is in the archive. */
  readonly whole: boolean;
}

/** The manifests of an index, those of inner indexes included. */
async function memberImages(
  blobs: Blobs,
  intake: Intake,
  { document }: Stored,
  where: string,
  options: Options,
  depth: number,
): Promise<readonly MemberImage[]> {
  if (document.kind !== 'index') return [];
  if (depth > nestingLimit)
    throw new SlipwayError('INVALID_ARCHIVE', `${where}: indexes are nested more than ${nestingLimit} deep`);
  const found: MemberImage[] = [];
  for (const descriptor of document.index.manifests) {
    if (!intake.has(descriptor.digest)) {
      found.push({ descriptor, whole: false });
      continue;
    }
    const stored = await readDocument(blobs, intake, descriptor, where, options);
    if (stored.document.kind === 'index') {
      found.push(...(await memberImages(blobs, intake, stored, where, options, depth + 1)));
      continue;
    }
    const { config, layers } = stored.document.manifest;
    const whole = [config, ...layers.filter((layer) => !isForeign(layer))].every(({ digest }) => intake.has(digest));
    found.push({ descriptor, whole });
  }
  return found;
}
