import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chainIds } from '../../shared/oci/chain.ts';
import { parseConfig } from '../../shared/oci/config.ts';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { canonicalJson, encodeConfig, encodeIndex, encodeManifest } from '../../shared/oci/encode.ts';
import {
  childrenOf,
  isForeign,
  manifestLimit,
  parseIndex,
  parseManifest,
  parseManifestOrIndex,
} from '../../shared/oci/manifest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';

const a = sha256('a');
const b = sha256('b');
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
const config = { mediaType: mediaType.ociConfig, digest: a, size: 7 };
const layer = { mediaType: mediaType.ociLayerGzip, digest: b, size: 70 };
const manifest = { schemaVersion: 2, mediaType: mediaType.ociManifest, config, layers: [layer] };
const index = {
  schemaVersion: 2,
  mediaType: mediaType.ociIndex,
  manifests: [{ mediaType: mediaType.ociManifest, digest: a, size: 7, platform: { os: 'linux', architecture: 'arm64' } }],
};

describe('manifests', () => {
  it('are read with unknown members kept and null ones dropped', () => {
    const read = parseManifest(bytes({ ...manifest, annotations: null, 'x-more': { y: 1 } }));
    expect(read).toEqual({ ...manifest, 'x-more': { y: 1 } });
    expect(parseManifest(bytes({ ...manifest, layers: null })).layers).toEqual([]);
  });

  it.each([
    [{ ...manifest, schemaVersion: undefined }, 'manifest.schemaVersion: missing'],
    [{ ...manifest, schemaVersion: '2' }, 'manifest.schemaVersion: must be 2'],
    [{ ...manifest, config: undefined }, 'manifest.config: missing'],
    [{ ...manifest, config: [] }, 'manifest.config: must be an object, not an array'],
    [{ ...manifest, layers: {} }, 'manifest.layers: must be an array, not an object'],
    [
      { ...manifest, layers: [layer, { ...layer, size: -1 }] },
      'manifest.layers[1].size: must be a whole number of at least 0, not -1',
    ],
    [{ ...manifest, layers: [{ ...layer, size: 1.5 }] }, 'manifest.layers[0].size'],
    [{ ...manifest, layers: [{ ...layer, size: 2 ** 53 }] }, 'manifest.layers[0].size'],
    [{ ...manifest, layers: [{ ...layer, digest: 'sha256:../../etc' }] }, 'manifest.layers[0].digest'],
    [{ ...manifest, layers: [{ ...layer, mediaType: 'nonsense' }] }, 'manifest.layers[0].mediaType'],
    [{ ...manifest, annotations: { a: 1 } }, 'manifest.annotations["a"]: must be a string'],
    [{ ...manifest, subject: { ...layer, digest: 'x' } }, 'manifest.subject.digest'],
    [{ ...manifest, manifests: [] }, 'manifest.manifests: must not be in an image manifest'],
    [{ ...manifest, mediaType: mediaType.ociIndex }, 'is not that of an image manifest'],
  ])('%j is refused', (document, message) => {
    expect(() => parseManifest(bytes(document))).toThrow(message);
  });

  it('must be what they were announced as', () => {
    expect(() => parseManifest(bytes(manifest), mediaType.dockerManifest)).toThrow('was announced as');
    expect(parseManifest(bytes({ ...manifest, mediaType: undefined }), mediaType.dockerManifest).config).toEqual(config);
  });

  it('of schema 1 are refused by name', () => {
    expect(() => parseManifestOrIndex(bytes({ schemaVersion: 1, fsLayers: [] }))).toThrow('schema 1 is not supported');
    const type = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
    expect(() => parseManifestOrIndex(bytes({ schemaVersion: 1, fsLayers: [] }), type)).toThrow('schema 1 is not supported');
  });

  it('larger than 4 MiB, not UTF-8 or not JSON are refused', () => {
    expect(() => parseManifest(Buffer.alloc(manifestLimit + 1, 0x20))).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
    expect(() => parseManifest(Buffer.from([0x22, 0xff, 0x22]))).toThrow('manifest: not a JSON document');
    expect(() => parseManifest(bytes([]))).toThrow('manifest: must be an object, not an array');
    expect(() => parseManifest(Buffer.from('['.repeat(1_000_000)))).toThrow(
      expect.objectContaining({ code: 'INVALID_DOCUMENT' }),
    );
  });
});

describe('indexes', () => {
  it('are told from manifests by type, else by members', () => {
    expect(parseManifestOrIndex(bytes(index))).toMatchObject({ kind: 'index', mediaType: mediaType.ociIndex });
    expect(parseManifestOrIndex(bytes({ ...index, mediaType: undefined }))).toMatchObject({
      kind: 'index',
      mediaType: mediaType.ociIndex,
    });
    expect(parseManifestOrIndex(bytes({ ...manifest, mediaType: undefined }))).toMatchObject({
      kind: 'manifest',
      mediaType: mediaType.ociManifest,
    });
    expect(parseManifestOrIndex(bytes({ ...index, mediaType: undefined }), mediaType.dockerList)).toMatchObject({
      kind: 'index',
      mediaType: mediaType.dockerList,
    });
    expect(() => parseManifestOrIndex(bytes({ schemaVersion: 2, mediaType: 'application/json' }))).toThrow('no kind of manifest');
  });

  it('that are also manifests are refused', () => {
    expect(() => parseManifestOrIndex(bytes({ ...index, layers: [layer] }))).toThrow(
      'index.layers: must not be in an image index',
    );
    expect(() => parseManifestOrIndex(bytes({ ...manifest, manifests: index.manifests }))).toThrow('manifest.manifests');
    expect(() => parseManifestOrIndex(bytes({ ...manifest, mediaType: undefined, manifests: [] }))).toThrow('must not be in');
  });

  it('name the member of a bad platform', () => {
    const bad = { ...index, manifests: [{ ...index.manifests[0], platform: { os: 'linux' } }] };
    expect(() => parseIndex(bytes(bad))).toThrow('index.manifests[0].platform.architecture: missing');
  });

  it('and manifests name their children', () => {
    expect(childrenOf(parseManifestOrIndex(bytes(manifest)))).toEqual([config, layer]);
    expect(childrenOf(parseManifestOrIndex(bytes(index))).map(({ digest }) => digest)).toEqual([a]);
    expect(isForeign({ ...layer, mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' })).toBe(true);
    expect(isForeign(layer)).toBe(false);
  });
});

describe('configs', () => {
  const plain = { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [a] } };

  it('take what docker writes: nulls, and empty objects as sets', () => {
    const read = parseConfig(
      bytes({
        ...plain,
        config: { Cmd: ['sh'], Entrypoint: null, ExposedPorts: { '80/tcp': {} }, Volumes: null, Hostname: '', OnBuild: null },
        container_config: { Image: 'x' },
        history: [{ created_by: 'x', empty_layer: true, comment: null }],
      }),
    );
    expect(read).toEqual({
      ...plain,
      config: { Cmd: ['sh'], ExposedPorts: { '80/tcp': {} }, Hostname: '' },
      container_config: { Image: 'x' },
      history: [{ created_by: 'x', empty_layer: true }],
    });
    expect(parseConfig(bytes({ ...plain, rootfs: { type: 'layers', diff_ids: null } })).rootfs.diff_ids).toEqual([]);
  });

  it.each([
    [{ ...plain, os: undefined }, 'config.os: missing'],
    [{ ...plain, rootfs: { type: 'trees', diff_ids: [] } }, 'config.rootfs.type'],
    [{ ...plain, rootfs: { type: 'layers', diff_ids: ['sha256:0'] } }, 'config.rootfs.diff_ids[0]'],
    [{ ...plain, config: { Env: 'A=b' } }, 'config.config.Env: must be an array, not a string'],
    [{ ...plain, config: { Cmd: ['a', 1] } }, 'config.config.Cmd[1]: must be a string'],
    [{ ...plain, config: { Labels: { a: null } } }, 'config.config.Labels["a"]'],
    [{ ...plain, config: { Healthcheck: { Retries: 1.5 } } }, 'config.config.Healthcheck.Retries'],
    [{ ...plain, history: [{ created: 5 }] }, 'config.history[0].created'],
    [{ ...plain, history: {} }, 'config.history: must be an array'],
  ])('%j is refused', (document, message) => {
    expect(() => parseConfig(bytes(document))).toThrow(message);
  });
});

describe('encoding', () => {
  it('is one text for one document, whatever order its members were set in', () => {
    const shuffled = { rootfs: { diff_ids: [a], type: 'layers' as const }, os: 'linux', architecture: 'amd64' };
    expect(Buffer.from(encodeConfig(shuffled)).toString()).toBe(
      `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["${a}"]}}`,
    );
    expect(Buffer.from(encodeManifest({ layers: [layer], config, schemaVersion: 2 })).toString()).toBe(
      `{"schemaVersion":2,"config":{"mediaType":"${config.mediaType}","digest":"${a}","size":7},"layers":[{"mediaType":"${layer.mediaType}","digest":"${b}","size":70}]}`,
    );
  });

  it('sorts maps by bytes, numbers among the names included, and keeps unknown members', () => {
    const text = Buffer.from(
      encodeConfig({
        architecture: 'amd64',
        os: 'linux',
        rootfs: { type: 'layers', diff_ids: [] },
        config: { Labels: { 9: 'n', b: '1', a: '2', é: '3', B: '4', '10': 't' }, Cmd: undefined },
        ...{ zeta: 1, alpha: { b: 1, a: [2, { d: 1, c: 2 }] } },
      } as never),
    ).toString();
    expect(text).toBe(
      '{"architecture":"amd64","os":"linux","config":{"Labels":{"10":"t","9":"n","B":"4","a":"2","b":"1","é":"3"}},' +
        '"rootfs":{"type":"layers","diff_ids":[]},"alpha":{"a":[2,{"c":2,"d":1}],"b":1},"zeta":1}',
    );
  });

  it('parses back to what was written', () => {
    expect(parseManifest(encodeManifest(manifest as never))).toEqual(manifest);
    expect(parseIndex(encodeIndex(index as never))).toEqual(index);
  });

  it('canonical JSON does not depend on the order of members, and is JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = canonicalJson(value);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(canonicalJson(JSON.parse(text))).toBe(text);
      }),
    );
    expect(canonicalJson({ b: 1, a: 2 })).toBe(canonicalJson({ a: 2, b: 1 }));
  });
});

it('chainIDs are those of the image spec', () => {
  // Of alpine 3.19 with one more layer would do as well: the formula is checked against its definition.
  const c = sha256('c');
  expect(chainIds([])).toEqual([]);
  expect(chainIds([a])).toEqual([a]);
  const second: Digest = sha256(`${a} ${b}`);
  expect(chainIds([a, b, c])).toEqual([a, second, sha256(`${second} ${c}`)]);
});
