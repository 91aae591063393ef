// COPY and ADD to operations: paths resolved against WORKDIR, flags checked, remote sources told from local ones.
import { posix } from 'node:path';
import { dockerfileError, shown, unsupported } from '../dockerfile/failure.ts';
import type { Copy } from '../dockerfile/instructions.ts';
import type { Word } from '../dockerfile/source.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import type { CopySource, Operation } from './plan.ts';
import { refuseFlags } from './refused-flags.ts';

/** The stage's way to expand a word; reports undefined variables. */
export type ExpandWord = (word: Word) => string;

export interface CopyContext {
  readonly expandWord: ExpandWord;
  /** For the body of a here-document, where quotes are ordinary characters. */
  readonly expandBody: ExpandWord;
  readonly workdir: string;
  /** Of COPY --from. */
  readonly source: CopySource | undefined;
}

export interface PlannedCopy {
  readonly operation: Operation;
  readonly createdBy: string;
}

interface Place {
  readonly word: Word;
  readonly text: string;
}

const isUrl = (text: string): boolean => /^https?:\/\//.test(text);

/** A git address as BuildKit tells it from a path or a file's URL. */
function isGit(text: string): boolean {
  if (/^(?:git|ssh):\/\//.test(text) || /^[\w-]+@[\w.-]+:/.test(text)) return true;
  return isUrl(text) && /^https?:\/\/[^?#]*\.git(?:[?#]|$)/.test(text);
}

/** @throws SlipwayError DOCKERFILE, UNSUPPORTED at the instruction or the word in it */
export function planCopy(copy: Copy, context: CopyContext): PlannedCopy {
  const keyword = copy.kind.toUpperCase();
  refuseFlags(keyword, copy.refused);
  const { expandWord } = context;
  const optional = (word: Word | undefined): string | undefined => (word && expandWord(word)) || undefined;
  const [chown, chmod, checksum] = [optional(copy.chown), optional(copy.chmod), optional(copy.checksum)];
  const sources = copy.sources.map((word): Place => ({ word, text: expandWord(word) }));
  const written = expandWord(copy.destination);
  if (chmod !== undefined) checkMode(chmod, copy.chmod!);
  const remote = sources.filter(({ text }) => isUrl(text) || isGit(text));
  for (const { word, text } of remote) checkRemote(copy, word, text);
  if (checksum !== undefined) checkChecksum(copy, sources);
  const inline = copy.inline.map((file) => {
    if (file.name.includes('/') || file.name === '.' || file.name === '..')
      throw dockerfileError(
        `a here-document cannot be named ${shown(file.name)}`,
        file.where,
        'name it as the file, without a folder',
      );
    const content = file.expand ? context.expandBody({ text: file.content, where: file.where }) : file.content;
    return { name: file.name, content };
  });
  const destination = absolute(context.workdir, written);
  if (sources.length + inline.length > 1 && !destination.endsWith('/'))
    throw dockerfileError(
      `When using ${keyword} with more than one source file, the destination must be a directory and end with a /`,
      copy.destination.where,
      `Write ${written}/ as the destination.`,
    );
  const common = {
    destination,
    ...(chown !== undefined && { chown }),
    ...(chmod !== undefined && { chmod }),
    ...(copy.link && { link: true as const }),
  };
  const words = [
    keyword,
    ...(chown === undefined ? [] : [`--chown=${chown}`]),
    ...(chmod === undefined ? [] : [`--chmod=${chmod}`]),
    ...sources.map(({ text }) => text),
    ...inline.map(({ name }) => `<<${name}`),
    written,
  ];
  const createdBy = `${words.join(' ')} # buildkit`;
  const [first] = remote;
  if (first !== undefined) {
    if (sources.length + inline.length > 1)
      throw unsupported(`${keyword} of a URL together with other sources`, first.word.where, 'write one ADD for each URL');
    if (copy.exclude.length > 0)
      throw unsupported(`${keyword} --exclude with a URL`, copy.exclude[0]!.where, 'a URL is one file');
    return { operation: fetchOperation(copy, first, checksum, common), createdBy };
  }
  const exclude = copy.exclude.map((word) => word.text);
  const operation: Operation = {
    kind: 'copy',
    from: context.source ?? { kind: 'context' },
    // an empty source is the root, as for docker
    sources: sources.map(({ text }) => text || '.'),
    ...common,
    ...(exclude.length > 0 && { exclude }),
    ...(inline.length > 0 && { inline }),
    unpack: copy.unpack ?? copy.kind === 'add',
  };
  return { operation, createdBy };
}

/** `path` against the working directory; a trailing `/` stays, and `.` is a directory. */
export function absolute(workdir: string, path: string): string {
  const directory = path === '' || path.endsWith('/') || /(?:^|\/)\.\.?$/.test(path);
  const joined = posix.resolve('/', workdir, path);
  return directory && joined !== '/' ? `${joined}/` : joined;
}

const octal = /^[0-7]+$/;
const symbolic = /^(?:[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+)(?:,[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+)*$/;

function checkMode(mode: string, { where }: Word): void {
  const problem = `invalid chmod parameter: '${shown(mode)}'. it should be octal string and between 0 and 07777`;
  if (mode.length > 200) throw dockerfileError(problem, where);
  if (octal.test(mode) ? Number.parseInt(mode, 8) <= 0o7777 : symbolic.test(mode)) return;
  throw dockerfileError(problem, where, 'for example 755 or u=rwX,go=rX');
}

function checkRemote(copy: Copy, word: Word, text: string): void {
  const git = isGit(text);
  if (copy.kind === 'copy')
    throw dockerfileError(`source can't be a ${git ? 'git ref' : 'URL'} for COPY`, word.where, 'ADD fetches from URLs');
  if (git) throw unsupported('ADD from a git repository', word.where, 'clone it in a stage with RUN git clone');
}

function checkChecksum(copy: Copy, sources: readonly Place[]): void {
  const { where } = copy.checksum!;
  if (sources.length !== 1) throw dockerfileError("checksum can't be specified for multiple sources", where);
  if (!isUrl(sources[0]!.text)) throw dockerfileError('checksum requires HTTP(S) or Git sources', where);
}

function fetchOperation(
  copy: Copy,
  { word, text: url }: Place,
  checksum: string | undefined,
  common: { destination: string; chown?: string; chmod?: string; link?: true },
): Operation {
  if (!URL.canParse(url)) throw dockerfileError(`invalid URL ${JSON.stringify(shown(url))}`, word.where);
  if (common.destination.endsWith('/') && posix.basename(new URL(url).pathname) === '')
    throw dockerfileError(
      `cannot determine filename for source ${shown(url)}`,
      word.where,
      'the URL ends without a name: write the whole path of the file as the destination',
    );
  if (checksum !== undefined && !isDigest(checksum))
    throw dockerfileError(`invalid checksum ${JSON.stringify(shown(checksum))}`, copy.checksum!.where, 'sha256:<64 hex digits>');
  return {
    kind: 'fetch',
    url,
    ...common,
    ...(checksum !== undefined && { checksum: checksum as Digest }),
    unpack: copy.unpack ?? false,
  };
}
