// Archives between Slipway and the others: what docker, podman and skopeo save is loaded here, and what is saved here they load.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxImage, busyboxReference } from '../support/base-images.ts';
import { cli } from '../support/cli.ts';
import { attempt, installed, must } from '../support/command.ts';
import { type Docker, dockerMissing, startDocker } from '../support/peers.ts';
import { whyNoRoot } from '../support/roots.ts';
import { type Scratch, scratch } from '../support/scratch.ts';

const required = Boolean(process.env.CI);
const missing = {
  skopeo: (await installed('skopeo')) ? undefined : 'skopeo is not installed',
  podman: (await installed('podman')) ? undefined : 'podman is not installed',
  docker: await dockerMissing(),
};
const whyNot = (tool: keyof typeof missing) => (required ? undefined : (whyNoRoot('busybox') ?? missing[tool]));
const title = (text: string, why: string | undefined) => (why === undefined ? text : `${text} (${why})`);

let folder: Scratch;
let home: string;
let id: string;
let config: string;
const run = (...argv: string[]) => cli(argv, { home, cwd: folder.path });
const ok = async (...argv: string[]): Promise<string> => {
  const { code, out, err } = await run(...argv);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  return out.trim();
};
const at = (name: string) => join(folder.path, name);
const inspect = (name: string) => ok('inspect', '-f', '{{json .Config}} {{.RootFS.Layers}} {{.Architecture}}', name);

beforeAll(async () => {
  folder = await scratch('slw-arc-');
  home = at('home');
  if (whyNoRoot('busybox') !== undefined) return;
  const base = await busyboxImage();
  await ok('load', '-i', base.archive);
  await ok('tag', busyboxReference, 'registry.example/team/app:1.0');
  id = await ok('inspect', '-f', '{{.Id}}', 'registry.example/team/app:1.0');
  config = await inspect(id);
  await ok('save', '-o', 'ours.tar', 'registry.example/team/app:1.0');
});
afterAll(() => folder?.[Symbol.asyncDispose]());

/** Loads what another program wrote, into a home that does not know it, and compares. */
async function loadsHere(archive: string, name: string, sameId: boolean): Promise<void> {
  const other = at(`home-${archive.split('/').at(-1)}`);
  const { code, out, err } = await cli(['load', '-i', archive], { home: other, cwd: folder.path });
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toEqual(name === '' ? expect.stringMatching(/^Loaded image ID: sha256:/) : `Loaded image: ${name}\n`);
  const word = name === '' ? out.trim().split(' ').at(-1)! : name;
  const shown = await cli(['inspect', '-f', '{{json .Config}} {{.RootFS.Layers}} {{.Architecture}}', word], {
    home: other,
    cwd: '/',
  });
  expect(shown.out.trim()).toBe(config);
  if (sameId) expect((await cli(['images', '-q', '--no-trunc'], { home: other, cwd: '/' })).out.trim()).toBe(id);
}

describe.skipIf(whyNot('skopeo') !== undefined)(title('skopeo', whyNot('skopeo')), () => {
  const copy = (...args: string[]) => must(['skopeo', '--insecure-policy', 'copy', '-q', ...args]);

  test('reads our archive as an OCI layout, with the same digest', async () => {
    await copy('--preserve-digests', `oci-archive:${at('ours.tar')}:1.0`, `oci:${at('read-oci')}:x`);
    expect(JSON.parse(await readFile(at('read-oci/index.json'), 'utf8')).manifests[0].digest).toBe(id);
  });

  test('reads our archive as a docker archive', async () => {
    await copy(`docker-archive:${at('ours.tar')}:registry.example/team/app:1.0`, `dir:${at('read-docker')}`);
  });

  test.each([
    ['oci-archive', 'x.oci.tar:registry.example/team/app:1.0', 'registry.example/team/app:1.0', true],
    ['oci-archive', 'plain.oci.tar:1.0', '', true],
    ['docker-archive', 'x.docker.tar:registry.example/team/app:1.0', 'registry.example/team/app:1.0', false],
  ])('writes %s to %s, which is loaded here', async (kind, path, name, sameId) => {
    await copy(...(sameId ? ['--preserve-digests'] : []), `oci-archive:${at('ours.tar')}:1.0`, `${kind}:${at(path)}`);
    await loadsHere(at(path.slice(0, path.indexOf(':'))), name, sameId);
  });

  test.each(['gzip', 'bzip2', 'xz', 'zstd'])('and %s around an archive is seen through', async (program) => {
    await must(['sh', '-c', `${program} -c '${at('ours.tar')}' > '${at(`ours.tar.${program}`)}'`]);
    await loadsHere(at(`ours.tar.${program}`), 'registry.example/team/app:1.0', true);
  });
});

describe.skipIf(whyNot('podman') !== undefined)(title('podman', whyNot('podman')), () => {
  const podman = (...args: string[]) =>
    must(['podman', '--root', at('pod/root'), '--runroot', at('pod/run'), '--storage-driver', 'vfs', ...args]);

  test('loads our archive, and what it saves is loaded here', async () => {
    const { stdout } = await podman('load', '-i', at('ours.tar'));
    expect(stdout).toContain('registry.example/team/app:1.0');
    for (const format of ['docker-archive', 'oci-archive']) {
      await podman('save', '--format', format, '-o', at(`podman-${format}.tar`), 'registry.example/team/app:1.0');
      await loadsHere(at(`podman-${format}.tar`), 'registry.example/team/app:1.0', false);
    }
  });
});

describe.skipIf(whyNot('docker') !== undefined)(title('docker', whyNot('docker')), () => {
  let docker: Docker;
  beforeAll(async () => {
    docker = await startDocker(at('d'), { storageDriver: 'vfs' });
  });
  afterAll(() => docker?.[Symbol.asyncDispose]());

  test('loads our archive, and what it saves is loaded here', async () => {
    const loaded = await docker.run(['load', '-i', at('ours.tar')]);
    expect(loaded.stdout + loaded.stderr).toContain('Loaded image: registry.example/team/app:1.0');
    const shown = await docker.run(['image', 'inspect', '-f', '{{json .RootFS.Layers}}', 'registry.example/team/app:1.0']);
    expect(JSON.parse(shown.stdout)).toEqual(JSON.parse(await ok('inspect', '-f', '{{json .RootFS.Layers}}', id)));
    await docker.run(['save', '-o', at('docker.tar'), 'registry.example/team/app:1.0']);
    await loadsHere(at('docker.tar'), 'registry.example/team/app:1.0', false);
  });

  test('and with save on one side and load on the other nothing but the name is printed', async () => {
    const line = `docker -H ${docker.host} save registry.example/team/app:1.0`;
    const archive = await attempt(['sh', '-c', `${line} > '${at('piped.tar')}'`], { env: docker.env });
    expect(archive.exitCode).toBe(0);
    const { code, out } = await cli(['load'], { home: at('piped'), cwd: '/', stdin: await readFile(at('piped.tar')) });
    expect({ code, out }).toEqual({ code: 0, out: 'Loaded image: registry.example/team/app:1.0\n' });
  });
});
