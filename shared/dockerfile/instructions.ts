// The instructions of a Dockerfile, typed. Words are as written: nothing is expanded here.
import type { SourceRange } from '../errors.ts';
import type { Healthcheck } from '../oci/config.ts';
import type { Heredoc, Word } from './source.ts';

interface Common {
  /** The keyword as written, for messages about its casing. */
  readonly keyword: string;
  /** The whole instruction, without the bodies of its here-documents. */
  readonly where: SourceRange;
  /** The logical line, trimmed. */
  readonly source: string;
  readonly comments: readonly string[];
}

/** RUN, CMD and ENTRYPOINT. */
export type CommandLine =
  | { readonly form: 'exec'; readonly args: readonly string[] }
  | { readonly form: 'shell'; readonly text: string };

export interface Pair {
  readonly key: string;
  readonly value: string;
  /** `ENV key value` instead of `ENV key=value`. */
  readonly legacy: boolean;
  readonly where: SourceRange;
}

export interface ArgDefinition {
  readonly name: string;
  /** The default, if it has one. */
  readonly value?: string;
  readonly where: SourceRange;
}

export interface InlineFile {
  readonly name: string;
  readonly content: string;
  readonly expand: boolean;
  readonly where: SourceRange;
}

export interface From extends Common {
  readonly kind: 'from';
  readonly image: Word;
  readonly platform?: Word;
  /** Lower case. */
  readonly name?: string;
  /** `AS` and the name, as written. */
  readonly as?: { readonly keyword: string; readonly name: Word };
}

export interface Run extends Common {
  readonly kind: 'run';
  readonly command: CommandLine;
  readonly heredocs: readonly Heredoc[];
  readonly network: 'default' | 'none' | 'host';
  /** Flags that parse but are not carried out yet, by name. */
  readonly refused: readonly Word[];
}

export interface Copy extends Common {
  readonly kind: 'copy' | 'add';
  readonly sources: readonly Word[];
  readonly inline: readonly InlineFile[];
  readonly destination: Word;
  readonly from?: Word;
  readonly chown?: Word;
  readonly chmod?: Word;
  readonly checksum?: Word;
  readonly exclude: readonly Word[];
  readonly link: boolean;
  readonly unpack?: boolean;
  readonly refused: readonly Word[];
}

export interface Command extends Common {
  readonly kind: 'cmd' | 'entrypoint';
  readonly command: CommandLine;
}

export interface Pairs extends Common {
  readonly kind: 'env' | 'label';
  readonly pairs: readonly Pair[];
}

export interface Words extends Common {
  readonly kind: 'expose' | 'volume';
  readonly words: readonly Word[];
}

export interface OneWord extends Common {
  readonly kind: 'user' | 'workdir' | 'stopsignal' | 'maintainer';
  readonly word: Word;
}

export interface Arg extends Common {
  readonly kind: 'arg';
  readonly args: readonly ArgDefinition[];
}

export interface Onbuild extends Common {
  readonly kind: 'onbuild';
  /** The trigger as it is kept in the image's config. */
  readonly trigger: string;
}

export interface Health extends Common {
  readonly kind: 'healthcheck';
  readonly healthcheck: Healthcheck;
}

export interface Shell extends Common {
  readonly kind: 'shell';
  readonly shell: readonly string[];
}

/** Everything that may stand in a stage. */
export type StageInstruction = Run | Copy | Command | Pairs | Words | OneWord | Arg | Onbuild | Health | Shell;
export type Instruction = From | StageInstruction;

export const keywords = [
  'ADD',
  'ARG',
  'CMD',
  'COPY',
  'ENTRYPOINT',
  'ENV',
  'EXPOSE',
  'FROM',
  'HEALTHCHECK',
  'LABEL',
  'MAINTAINER',
  'ONBUILD',
  'RUN',
  'SHELL',
  'STOPSIGNAL',
  'USER',
  'VOLUME',
  'WORKDIR',
] as const;

export type Keyword = (typeof keywords)[number];
