import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { About } from '../../shared/api/about.ts';
import type { BuildFacts } from '../../shared/api/builds.ts';
import type { BuildRequest, ContextRef } from '../../shared/build/request.ts';
import { errnoOf, isCode, SlipwayError } from '../../shared/errors.ts';
import { decodeName } from '../../shared/tar/name.ts';
import type { Api } from '../api-client.ts';
import type { OpenArchive } from '../build-context.ts';
import { refuseUnsupported, unsupported } from '../build-refusals.ts';
import { defineCommand } from '../command.ts';
import { type Ended, followBuild } from '../follow-build.ts';
import { stdinBytes, stdinText } from '../input.ts';
import { type Io, isTerminal, print, write } from '../io.ts';
import { chooseProgress, type Progress, type ProgressKind, progress, progressKinds } from '../progress.ts';
import type { Remote } from '../remote.ts';
import { ResultFile } from '../result-file.ts';

export const command = defineCommand({
  name: 'build',
  summary: 'Build an image from a Dockerfile',
  usage: '[OPTIONS] PATH | - | s3://BUCKET/contexts/NAME',
  description: `Reads the Dockerfile in PATH (or the one given with -f), runs the stages that the target needs, each step at most once for the
same inputs, and keeps the result in the home under the given tags. PATH is the build context: the files that COPY and ADD may
read, less what .dockerignore names. With - the context is a tar archive on standard input, or a lone Dockerfile. A home in an account
also builds archives that were put into its bucket, below contexts/, by any S3 client; -f is then a path in the archive.

Steps whose inputs are unchanged are taken from the cache and shown as CACHED. A failed build keeps the steps that were finished.
Set SOURCE_DATE_EPOCH to make the same sources give the same image digest wherever and whenever they are built.`,
  examples: [
    ['slipway build -t app .', 'Build the current folder and tag the result app:latest'],
    ['slipway build -f deploy/Dockerfile --build-arg VERSION=1.2 -t team/app:1.2 .', 'Another Dockerfile, with an argument'],
    ['slipway build --target builder --progress plain .', 'Stop at the stage "builder", with the whole log'],
    ['id=$(slipway build -q .)', 'Print nothing but the image ID'],
  ],
  options: {
    file: {
      type: 'string',
      short: 'f',
      help: 'Name of the Dockerfile (default: PATH/Dockerfile); - reads it from standard input',
    },
    tag: {
      type: 'string',
      short: 't',
      multiple: true,
      value: 'name[:tag]',
      help: 'Name of the image; may be given several times',
    },
    'build-arg': {
      type: 'string',
      multiple: true,
      value: 'NAME[=VALUE]',
      help: 'Set a build argument; without a value it is taken from the environment',
    },
    label: { type: 'string', multiple: true, value: 'NAME=VALUE', help: 'Set metadata for the image' },
    target: { type: 'string', help: 'Build this stage instead of the last one' },
    platform: {
      type: 'string',
      multiple: true,
      value: 'string',
      help: 'Platform of the result, e.g. linux/amd64 (default: this machine)',
    },
    network: { type: 'string', help: 'Network of RUN steps: default (this machine’s), host or none' },
    'no-cache': { type: 'boolean', help: 'Do not use the cache' },
    'no-cache-filter': { type: 'string', multiple: true, value: 'stage', help: 'Do not use the cache for these stages' },
    pull: { type: 'boolean', help: 'Look for a newer base image even if it is here' },
    budget: {
      type: 'string',
      keepsEmpty: true,
      value: 'dollars',
      help: 'Stop a build in an account that has cost more than this, e.g. 0.50, by estimate',
    },
    push: { type: 'boolean', help: 'Push the tags when the build is done' },
    load: { type: 'boolean', help: 'Accepted for docker’s sake: the result is always kept in the home' },
    quiet: { type: 'boolean', short: 'q', help: 'Print only the image ID' },
    progress: { type: 'string', value: 'auto|plain|tty|rawjson|quiet', help: 'How to show the build (default: auto)' },
    iidfile: { type: 'string', value: 'file', help: 'Write the image ID to a file' },
    'metadata-file': { type: 'string', value: 'file', help: 'Write facts about the result to a file, as JSON' },
    ...unsupported,
  },
  args: { min: 1, max: 1 },
  namespace: 'preferred',
  async run({ args, options, io, api, remote }) {
    refuseUnsupported(options);
    const kind = chooseProgress(options.progress, options.quiet === true, io);
    if (kind === undefined) {
      throw new SlipwayError(
        'USAGE',
        `invalid progress "${options.progress ?? io.env.BUILDKIT_PROGRESS}": one of ${progressKinds.join(', ')}`,
      );
    }
    const platform = onePlatform(options.platform);
    const budget = await budgetOf(options.budget);
    const [idFile, factsFile] = [options.iidfile, options['metadata-file']].map((path) =>
      path === undefined ? undefined : new ResultFile(resolve(io.cwd, path)),
    );
    idFile?.prepare();
    factsFile?.prepare();
    const client = await api();
    const elsewhere = await remote();
    if (budget !== undefined && elsewhere === undefined) {
      throw new SlipwayError('UNSUPPORTED', '--budget: a build on this machine is charged for by nobody', {
        hint: 'It is for builds in an account: set SLIPWAY_ENDPOINT, or choose a context.',
      });
    }
    const show = progress(kind, io);
    const pushed = options.push ? await toPush(client, elsewhere, options.tag) : [];
    const given = /^s3:\/\//.test(args[0] as string)
      ? await inBucket(args[0] as string, options.file, io, elsewhere)
      : await inputs(args[0] as string, options.file, io, elsewhere === undefined ? client : undefined);
    const { dockerfile, ignore } = given;
    const context = elsewhere === undefined ? given.context : await sendInputs(given, client, elsewhere, show, io);
    const request: BuildRequest = {
      context,
      dockerfile,
      ...(ignore === undefined ? {} : { ignore }),
      tags: [...options.tag],
      buildArgs: buildArguments(options['build-arg'], io.env),
      labels: labels(options.label),
      ...(options.target === undefined ? {} : { target: options.target }),
      ...(platform === undefined ? {} : { platform }),
      ...(options.network === undefined ? {} : { network: options.network }),
      noCache: options['no-cache'] === true,
      ...(options['no-cache-filter'].length === 0
        ? {}
        : { noCacheFilter: options['no-cache-filter'].flatMap((list) => list.split(',')) }),
      pull: options.pull === true,
      ...(budget === undefined ? {} : { budget }),
    };
    const spent: Spent = {};
    const ended =
      elsewhere === undefined || kind === 'rawjson' || (kind === 'quiet' && options['metadata-file'] === undefined)
        ? undefined
        : askCost(spent, kind, io);
    const digest = await untilAllowed(elsewhere, (again) =>
      followBuild(client, request, again ? progress(kind, io) : show, io, elsewhere !== undefined, ended),
    );
    idFile?.write(digest);
    if (factsFile !== undefined) {
      const facts = {
        'containerimage.digest': digest,
        ...(options.tag.length > 0 ? { 'image.name': options.tag.join(',') } : {}),
        ...(spent.build === undefined ? {} : { 'slipway.build': spent.build.id }),
        ...(spent.build?.cost === undefined ? {} : { 'slipway.cost': spent.build.cost }),
      };
      factsFile.write(`${JSON.stringify(facts, null, 2)}\n`);
    }
    if (kind === 'quiet') await print(io, digest);
    await push(client, elsewhere, pushed, io);
    return 0;
  },
});

/** Docker's list of platforms, as far as it goes here. */
function onePlatform(given: readonly string[]): string | undefined {
  const [platform, ...more] = new Set(given.flatMap((list) => list.split(',')).filter((one) => one !== ''));
  if (more.length === 0) return platform;
  throw new SlipwayError('UNSUPPORTED', '--platform: a build is for one platform; several at once are not supported yet', {
    hint: 'Build for each by itself, with a tag of its own.',
  });
}

/** In nano-dollars. */
async function budgetOf(text: string | undefined): Promise<number | undefined> {
  if (text === undefined) return undefined;
  const { nanoDollars } = await import('../../shared/cost/dollars.ts');
  const nano = nanoDollars(text);
  if (nano === undefined) throw new SlipwayError('USAGE', `invalid budget "${text}": dollars are expected, such as 0.50`);
  return nano;
}

interface Spent {
  build?: BuildFacts;
}

/** Milliseconds that asking for the cost may take. */
const patience = 5000;

/** A line for the cost of the build; kept in `spent`. That it cannot be had is said, and is no failure of the build. */
const askCost =
  (spent: Spent, kind: ProgressKind, io: Io): Ended =>
  async (home, id) => {
    let line: string | undefined;
    try {
      spent.build = await home.withSignal(AbortSignal.timeout(patience)).json<BuildFacts>('GET', `/api/v1/builds/${id}`);
      line = (await import('../cost-text.ts')).costLine(spent.build);
    } catch (error) {
      line = `cost  unknown: ${error instanceof Error ? error.message : String(error)}`;
    }
    if (line !== undefined && kind !== 'quiet') await write(io.stderr, `${line}\n`);
  };

/** Which images a Dockerfile in the bucket reads is known once it is planned: what the login may read is asked for then. */
async function untilAllowed(remote: Remote | undefined, build: (again: boolean) => Promise<string>): Promise<string> {
  for (let again = false; ; again = true) {
    try {
      return await build(again);
    } catch (error) {
      const scope = isCode(error, 'DENIED') ? error.details?.scope : undefined;
      if (remote === undefined || typeof scope !== 'string' || !remote.want(scope)) throw error;
    }
  }
}

interface Inputs {
  readonly context: ContextRef;
  readonly dockerfile: { readonly name: string; readonly text: string };
  readonly ignore?: { readonly name: string; readonly text: string };
  /** What came on standard input, for a home elsewhere. */
  readonly archive?: OpenArchive;
}

/** Sends what the build reads to a home elsewhere. */
async function sendInputs(given: Inputs, client: Api, remote: Remote, show: Progress, io: Io): Promise<ContextRef> {
  const { sendArchive, sendDirectory } = await import('../build-context.ts');
  const to = { client, remote, show, io };
  if (given.archive !== undefined) return await sendArchive(given.archive, to);
  return given.context.kind === 'directory' ? await sendDirectory(given.context.path, given.ignore, to) : given.context;
}

/** An archive that the home itself reads: nothing of it comes by this machine. */
async function inBucket(url: string, file: string | undefined, io: Io, remote: Remote | undefined): Promise<Inputs> {
  if (remote === undefined) {
    throw new SlipwayError(
      'UNSUPPORTED',
      `the context ${url} is for a home in an account, and the one in use is on this machine`,
      {
        hint: 'Choose the account (SLIPWAY_ENDPOINT), or fetch the archive: aws s3 cp URL - | slipway build -',
      },
    );
  }
  const given = file === '-' ? await stdinText(io) : '';
  return {
    context: { kind: 'archive', url, project: remote.endpoint.project },
    // Without text it is read from the archive.
    dockerfile: { name: file === undefined || file === '-' ? 'Dockerfile' : file, text: given },
  };
}

/** Without a client the home is elsewhere: what comes on standard input is read here. */
async function inputs(path: string, file: string | undefined, io: Io, client: Api | undefined): Promise<Inputs> {
  if (path === '-') return fromStandardInput(file, io, client);
  if (/^(https?|git|ssh):\/\//.test(path) || /^git@/.test(path) || /^github\.com\//.test(path)) {
    throw new SlipwayError('UNSUPPORTED', `the context ${path} is a URL, and only folders and standard input are supported yet`, {
      hint: 'clone or download it and give the folder; a tar archive can come on standard input: slipway build - < context.tar',
    });
  }
  const root = resolve(io.cwd, path);
  const found = await stat(root).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  // An empty variable of a script is not the current folder.
  if (found === undefined || path === '')
    throw new SlipwayError('CONTEXT', `unable to prepare context: path "${path}" not found`);
  if (!found.isDirectory()) {
    throw new SlipwayError('CONTEXT', `unable to prepare context: path "${path}" is not a directory`, {
      hint: 'give the folder, and the Dockerfile with -f',
    });
  }
  const dockerfile = file === '-' ? { name: 'Dockerfile', text: await stdinText(io) } : await readDockerfile(root, file, io);
  const beside = file === undefined ? join(root, dockerfile.name) : resolve(io.cwd, file);
  const own = file === '-' ? undefined : await readIfThere(`${beside}.dockerignore`);
  const ignored = own ?? (await readIfThere(join(root, '.dockerignore')));
  const ignoreName = own === undefined ? '.dockerignore' : `${basename(beside)}.dockerignore`;
  return {
    context: { kind: 'directory', path: root },
    dockerfile,
    // Names need not be UTF-8.
    ...(ignored === undefined ? {} : { ignore: { name: ignoreName, text: decodeName(ignored) } }),
  };
}

async function readDockerfile(root: string, file: string | undefined, io: Io): Promise<{ name: string; text: string }> {
  if (file !== undefined && /^https?:\/\//.test(file)) {
    throw new SlipwayError('UNSUPPORTED', `-f ${file}: a Dockerfile at a URL is not supported yet`, {
      hint: `curl -fsSL ${file} | slipway build -f - PATH`,
    });
  }
  // F46: relative to the current folder, not to the context; the default name is tried in lower case too.
  const candidates =
    file === undefined
      ? [join(root, 'Dockerfile'), join(root, 'dockerfile')]
      : [resolve(io.cwd, file), join(dirname(resolve(io.cwd, file)), basename(file).toLowerCase())];
  for (const candidate of candidates) {
    const found = await readIfThere(candidate);
    if (found !== undefined) return { name: file ?? basename(candidate), text: found.toString('utf8') };
  }
  throw new SlipwayError('DOCKERFILE', `failed to read dockerfile: open ${file ?? 'Dockerfile'}: no such file or directory`, {
    hint:
      file === undefined
        ? `there is no Dockerfile in ${root}; name another with -f`
        : '-f is relative to the current folder, not to the context',
  });
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw new SlipwayError('CONTEXT', `failed to read ${path}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}

async function fromStandardInput(file: string | undefined, io: Io, client: Api | undefined): Promise<Inputs> {
  if (file === '-') throw new SlipwayError('USAGE', 'invalid argument: can’t use stdin for both build context and dockerfile');
  if (isTerminal(io.stdin)) {
    throw new SlipwayError('USAGE', 'the context is to come from standard input, but that is a terminal', {
      hint: 'slipway build - < context.tar',
    });
  }
  if (client === undefined) {
    const { openArchive } = await import('../build-context.ts');
    const archive = await openArchive(io, file);
    return { context: { kind: 'none' }, dockerfile: archive.dockerfile, archive };
  }
  const query = file === undefined ? '' : `?dockerfile=${encodeURIComponent(file)}`;
  const response = await client.send('POST', `/api/v1/contexts/archive${query}`, stdinBytes(io));
  const { readAll } = await import('../../shared/api/http.ts');
  const { id, dockerfile } = JSON.parse((await readAll(response.body, 64 * 1024 * 1024, 'the answer')).toString('utf8')) as {
    id: string;
    dockerfile: { name: string; text: string };
  };
  return { context: { kind: 'stored', id }, dockerfile };
}

function buildArguments(given: readonly string[], env: Io['env']): Record<string, string> {
  const values: Record<string, string> = {};
  // As buildx does: a pipeline sets it once, for all its tools.
  if (env.SOURCE_DATE_EPOCH) values.SOURCE_DATE_EPOCH = env.SOURCE_DATE_EPOCH;
  for (const one of given) {
    const at = one.indexOf('=');
    const name = at === -1 ? one : one.slice(0, at);
    if (name === '') throw new SlipwayError('USAGE', `invalid build argument "${one}": it has no name`);
    const value = at === -1 ? env[name] : one.slice(at + 1);
    if (value !== undefined) values[name] = value;
  }
  return values;
}

function labels(given: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    given.map((one) => {
      const at = one.indexOf('=');
      return at === -1 ? [one, ''] : [one.slice(0, at), one.slice(at + 1)];
    }),
  );
}

/** The tags that `--push` sends: known before anything is built. A home that is a registry has its own in it when the build is done. */
async function toPush(client: Api, remote: Remote | undefined, tags: readonly string[]): Promise<readonly string[]> {
  if (tags.length === 0) {
    throw new SlipwayError('USAGE', '--push needs a tag: it is the tag that says where to', {
      hint: 'give one with -t HOST/NAME:TAG',
    });
  }
  if (remote === undefined) return tags;
  const { registry } = await client.json<About>('GET', '/api/v1');
  if (registry === undefined) return tags;
  const others = tags.filter((tag) => !tag.startsWith(`${registry}/`));
  const { namesHost } = await import('../../shared/oci/reference.ts');
  // Docker Hub's by docker's rules, and a name of this very home: not to be guessed at.
  const vague = others.find((tag) => !namesHost(tag));
  if (vague === undefined) return others;
  throw new SlipwayError('USAGE', `--push: ${vague} does not say which registry`, {
    hint: `Name it ${registry}/NAME:TAG, or leave --push out: what is built there is in its registry already. docker.io/NAME:TAG is Docker Hub's.`,
  });
}

async function push(client: Api, remote: Remote | undefined, tags: readonly string[], io: Io): Promise<void> {
  if (tags.length === 0) return;
  const [{ transferLines }, { askedOf, carriedOut }] = await Promise.all([
    import('../transfer-lines.ts'),
    import('../transfer.ts'),
  ]);
  // Standard output is for the image's ID.
  const lines = transferLines({ ...io, stdout: io.stderr });
  for (const reference of tags) {
    await carriedOut(client, 'push', await askedOf(reference, {}, remote), io, (event) => lines.show(event));
  }
}
