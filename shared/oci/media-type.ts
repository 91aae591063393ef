// The media types we read and write: OCI image spec media-types.md and Docker's image manifest v2 schema 2.
export const mediaType = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayerTar: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  ociEmpty: 'application/vnd.oci.empty.v1+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayerTar: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  dockerLayerZstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
} as const;

export const isManifestType = (type: string): boolean => type === mediaType.ociManifest || type === mediaType.dockerManifest;
export const isIndexType = (type: string): boolean => type === mediaType.ociIndex || type === mediaType.dockerList;

export type Compression = 'none' | 'gzip' | 'zstd';

/** How a layer of this media type is compressed; undefined when it is no layer type we know. */
export function compressionOf(type: string): Compression | undefined {
  if (type.endsWith('.tar')) return 'none';
  if (type.endsWith('.tar+gzip') || type.endsWith('.tar.gzip')) return 'gzip';
  if (type.endsWith('.tar+zstd') || type.endsWith('.tar.zstd')) return 'zstd';
  return undefined;
}
