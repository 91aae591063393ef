// One stage's instructions to steps: everything expanded, every RUN's environment known.
import { posix } from 'node:path';
import { dockerfileError } from '../dockerfile/failure.ts';
import { chomp, heredocMark } from '../dockerfile/heredoc.ts';
import type { Arg, Command, CommandLine, Pairs, Run, StageInstruction, Words } from '../dockerfile/instructions.ts';
import { parsePorts } from '../dockerfile/ports.ts';
import type { Findings } from '../dockerfile/rules.ts';
import { isSignal, signalNames } from '../dockerfile/signals.ts';
import { isSpace, type Word } from '../dockerfile/source.ts';
import { didYouMean } from '../dockerfile/suggest.ts';
import { type Expanded, expand } from '../dockerfile/words.ts';
import { SlipwayError } from '../errors.ts';
import { proxyEnv } from './builtin-args.ts';
import { splitEnv } from './config-edit.ts';
import { healthText, plainList, quotedList, runText } from './history-text.ts';
import type { ConfigEdit, Operation, Step } from './plan.ts';
import { type PlanBudget, stepOverhead } from './plan-budget.ts';
import { planCopy } from './plan-copy.ts';
import { refuseFlags } from './refused-flags.ts';
import type { NeededStage } from './stage-graph.ts';

/** What a stage hands to stages built FROM it. */
export interface StageScope {
  /** The config's Env. */
  readonly env: ReadonlyMap<string, string>;
  /** ENV and ARG as the next instruction sees them. */
  readonly visible: ReadonlyMap<string, string>;
  /** Declared ARGs; undefined without a value. */
  readonly args: ReadonlyMap<string, string | undefined>;
  readonly workdir: string;
  readonly workdirSet: boolean;
  readonly user: string;
  readonly shell: readonly string[] | undefined;
}

export interface StageInput {
  readonly needed: NeededStage;
  /** Of the base: a stage's, or one made from an image's config. */
  readonly scope: StageScope;
  readonly globals: ReadonlyMap<string, string>;
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly network: 'host' | 'none';
  readonly escapeChar: string;
  readonly findings: Findings;
  readonly budget: PlanBudget;
}

const sizeOf = (map: ReadonlyMap<string, string | undefined>): number => {
  let size = 0;
  for (const [name, value] of map) size += name.length + (value?.length ?? 0) + 2;
  return size;
};

interface ExpansionHow {
  readonly skipQuotes?: boolean;
  readonly escapeChar?: string;
  /** Undefined variables are not reported. */
  readonly quiet?: boolean;
}

/** @throws SlipwayError DOCKERFILE, UNSUPPORTED, TOO_LARGE, DENIED */
export function planStage(input: StageInput): { steps: Step[]; scope: StageScope } {
  return new StagePlanner(input).plan();
}

class StagePlanner {
  readonly #input: StageInput;
  readonly #env: Map<string, string>;
  readonly #visible: Map<string, string>;
  readonly #args: Map<string, string | undefined>;
  #workdir: string;
  #workdirSet: boolean;
  #user: string;
  #shell: readonly string[] | undefined;
  #cmdSet = false;
  #current!: StageInstruction;
  /** The environment of a RUN, kept until a variable changes. */
  #runEnv: string[] | undefined;

  constructor(input: StageInput) {
    const { scope, needed, budget } = input;
    this.#input = input;
    budget.charge(2 * sizeOf(scope.visible) + sizeOf(scope.args), needed.header.stage.from.where);
    this.#env = new Map(scope.env);
    this.#visible = new Map([...scope.visible, ...scope.env]);
    this.#args = new Map(scope.args);
    this.#workdir = scope.workdir;
    this.#workdirSet = scope.workdirSet;
    this.#user = scope.user;
    this.#shell = scope.shell;
  }

  plan(): { steps: Step[]; scope: StageScope } {
    const { triggers, header } = this.#input.needed;
    const steps: Step[] = [];
    for (const [instructions, prefix] of [
      [triggers, 'ONBUILD '],
      [header.stage.instructions, ''],
    ] as const) {
      for (const instruction of instructions) {
        this.#current = instruction;
        const { operation, createdBy } = this.#step(instruction);
        this.#input.budget.charge(stepOverhead + createdBy.length + instruction.source.length, instruction.where);
        steps.push({ operation, where: instruction.where, display: prefix + display(instruction), createdBy });
      }
    }
    const scope: StageScope = {
      env: this.#env,
      visible: this.#visible,
      args: this.#args,
      workdir: this.#workdir,
      workdirSet: this.#workdirSet,
      user: this.#user,
      shell: this.#shell,
    };
    return { steps, scope };
  }

  #step(instruction: StageInstruction): { operation: Operation; createdBy: string } {
    switch (instruction.kind) {
      case 'run':
        return this.#run(instruction);
      case 'copy':
      case 'add':
        return planCopy(instruction, {
          expandWord: (word) => this.#expand(word),
          expandBody: (word) => this.#expansion(word, { skipQuotes: true, escapeChar: '\\' }).text,
          workdir: this.#workdir,
          source: this.#input.needed.sources.get(instruction),
        });
      case 'cmd':
      case 'entrypoint':
        return this.#command(instruction);
      case 'env':
      case 'label':
        return this.#pairs(instruction);
      case 'arg':
        return this.#arg(instruction);
      case 'expose':
        return this.#expose(instruction);
      case 'volume':
        return this.#volume(instruction);
      case 'workdir':
        return this.#workdirStep(instruction.word);
      case 'user': {
        const user = this.#expand(instruction.word);
        this.#user = user;
        return config(user === '' ? { unset: ['User'] } : { set: { User: user } }, `USER ${user}`);
      }
      case 'stopsignal': {
        const signal = this.#expand(instruction.word);
        if (!isSignal(signal))
          throw dockerfileError(
            `invalid signal: ${signal}${didYouMean(signal, signalNames, false)}`,
            instruction.word.where,
            'a name such as SIGTERM, or a number',
          );
        return config({ set: { StopSignal: signal } }, `STOPSIGNAL ${signal}`);
      }
      case 'maintainer':
        return config({ author: instruction.word.text }, `MAINTAINER ${instruction.word.text}`);
      case 'healthcheck':
        return config({ healthcheck: instruction.healthcheck }, healthText(instruction.healthcheck));
      case 'shell':
        this.#shell = instruction.shell;
        return config({ set: { Shell: instruction.shell } }, `SHELL ${plainList(instruction.shell)}`);
      case 'onbuild':
        // BuildKit writes no history for it
        return config({ onbuild: [instruction.trigger] }, '');
    }
  }

  #expansion(word: Word, { quiet, ...how }: ExpansionHow = {}): Expanded {
    const { escapeChar, budget } = this.#input;
    const result = expand(word.text, { lookup: (name) => this.#visible.get(name), escapeChar, where: word.where, ...how });
    budget.charge(result.text.length, word.where);
    for (const name of result.unmatched) {
      if (quiet || this.#input.findings.full || this.#args.has(name)) continue;
      const similar = didYouMean(name, this.#visible.keys()).replace('mean ', 'mean $');
      const { where, comments } = this.#current;
      this.#input.findings.report('UndefinedVar', `Usage of undefined variable '$${name}'${similar}`, where, comments);
    }
    return result;
  }

  #expand(word: Word): string {
    return this.#expansion(word).text;
  }

  #set(name: string, value: string): void {
    this.#visible.set(name, value);
    this.#runEnv = undefined;
  }

  #pairs({ kind, pairs, where }: Pairs): { operation: Operation; createdBy: string } {
    // all are expanded before the first is set: `ENV a=1 b=$a` gives b the old a
    const expanded = pairs.map((pair): readonly [string, string] => {
      const key = this.#expand({ text: pair.key, where: pair.where });
      if (key === '') throw dockerfileError(`${kind.toUpperCase()} names can not be blank`, pair.where);
      return [key, this.#expand({ text: pair.value, where: pair.where })];
    });
    if (kind === 'env') {
      for (const [name, value] of expanded) {
        if (name.includes('=')) throw dockerfileError(`ENV name ${JSON.stringify(name)} has a =`, where);
        this.#env.set(name, value);
        this.#set(name, value);
      }
    }
    const text = expanded.map(([name, value]) => `${name}=${value}`).join(' ');
    return config(kind === 'env' ? { env: expanded } : { labels: expanded }, `${kind.toUpperCase()} ${text}`);
  }

  #arg({ args }: Arg): { operation: Operation; createdBy: string } {
    const { buildArgs, globals } = this.#input;
    const words: string[] = [];
    for (const { name, value: fallback, where } of args) {
      let value: string | undefined;
      if (Object.hasOwn(buildArgs, name)) value = buildArgs[name];
      else if (fallback !== undefined) value = this.#expand({ text: fallback, where });
      else value = globals.get(name);
      this.#args.set(name, value);
      // an ENV of the same name always wins (F62)
      if (value !== undefined && !this.#env.has(name)) this.#set(name, value);
      words.push(value === undefined ? name : `${name}=${value}`);
    }
    return config({}, `ARG ${words.join(' ')}`);
  }

  #withShell(text: string): readonly string[] {
    return [...(this.#shell ?? ['/bin/sh', '-c']), text];
  }

  #words(command: CommandLine): readonly string[] {
    return command.form === 'exec' ? command.args : this.#withShell(command.text);
  }

  #command({ kind, command, where, comments }: Command): { operation: Operation; createdBy: string } {
    const name = kind.toUpperCase();
    if (command.form === 'shell' && this.#shell === undefined)
      this.#input.findings.report(
        'JSONArgsRecommended',
        `JSON arguments recommended for ${name} to prevent unintended behavior related to OS signals`,
        where,
        comments,
      );
    const words = this.#words(command);
    const member = kind === 'cmd' ? 'Cmd' : 'Entrypoint';
    const set = words.length > 0 ? { [member]: words } : {};
    const unset: ('Cmd' | 'Entrypoint')[] = words.length > 0 ? [] : [member];
    if (kind === 'cmd') this.#cmdSet = true;
    // a CMD inherited from the base was meant for the base's entry point (F89)
    else if (!this.#cmdSet) unset.push('Cmd');
    return config({ set, ...(unset.length > 0 && { unset }) }, `${name} ${quotedList(words)}`);
  }

  #expose({ words, where, comments }: Words): { operation: Operation; createdBy: string } {
    const { findings, budget } = this.#input;
    const ports: string[] = [];
    for (const word of words) {
      // docker reports no undefined variables here, and `error=true` should not fail where docker's does not
      for (const text of this.#expansion(word, { quiet: true }).words) {
        const exposed = parsePorts(text, word.where);
        budget.charge(exposed.ports.length * 20, word.where);
        for (const port of exposed.ports) ports.push(port);
        if (exposed.protocolCasing) {
          const message = `Defined protocol '${text}' in EXPOSE instruction should be lowercase`;
          findings.report('ExposeProtoCasing', message, where, comments);
        }
        if (exposed.mapping) {
          const message = `EXPOSE instruction should not define an IP address or host-port mapping, found '${text}'`;
          findings.report('ExposeInvalidFormat', message, where, comments);
        }
      }
    }
    return config({ ports: [...new Set(ports)] }, `EXPOSE ${plainList(ports)}`);
  }

  #volume({ words }: Words): { operation: Operation; createdBy: string } {
    const volumes = words.map((word) => {
      const volume = this.#expand(word);
      if (volume === '') throw dockerfileError('VOLUME specified can not be an empty string', word.where);
      return volume;
    });
    return config({ volumes }, `VOLUME ${plainList(volumes)}`);
  }

  #workdirStep(word: Word): { operation: Operation; createdBy: string } {
    const written = this.#expand(word);
    if (!this.#workdirSet && !written.startsWith('/'))
      this.#input.findings.report(
        'WorkdirRelativePath',
        `Relative workdir ${JSON.stringify(written)} can have unexpected results if the base image changes`,
        this.#current.where,
        this.#current.comments,
      );
    this.#workdirSet = true;
    const path = posix.resolve('/', this.#workdir, written);
    this.#workdir = path;
    const createdBy = `WORKDIR ${path}`;
    // the root is always there: no layer
    if (path === '/') return config({ set: { WorkingDir: path } }, createdBy);
    return { operation: { kind: 'workdir', path, ...(this.#user !== '' && { user: this.#user }) }, createdBy };
  }

  #environment(): string[] {
    if (this.#runEnv === undefined) {
      const names = [...this.#env.keys(), ...[...this.#args.keys()].filter((name) => !this.#env.has(name))];
      this.#runEnv = names.filter((name) => this.#visible.has(name)).map((name) => `${name}=${this.#visible.get(name)}`);
    }
    return this.#runEnv;
  }

  #run(run: Run): { operation: Operation; createdBy: string } {
    const { buildArgs, budget } = this.#input;
    refuseFlags('RUN', run.refused);
    if (run.network === 'host' && this.#input.network === 'none')
      throw new SlipwayError('DENIED', 'RUN --network=host in a build that was started with --network=none', {
        where: run.where,
      });
    const { words, files } = this.#runCommand(run);
    const env = this.#environment();
    budget.charge(2 * (sizeOf(this.#visible) + words.join(' ').length), run.where);
    const declared = [...this.#args].map(([name, value]) => `${name}=${this.#visible.get(name) ?? value ?? ''}`);
    const operation: Operation = {
      kind: 'run',
      args: words,
      env,
      proxyEnv: proxyEnv(buildArgs, (name) => this.#visible.has(name)),
      user: this.#user,
      cwd: posix.resolve('/', this.#workdir),
      network: run.network === 'default' ? this.#input.network : run.network,
      ...(files.length > 0 && { files }),
    };
    return { operation, createdBy: runText(words, declared) };
  }

  /** The words to run, with the here-documents where sh, an interpreter or nobody needs them. */
  #runCommand({ command, heredocs, where }: Run): { words: readonly string[]; files: { name: string; content: string }[] } {
    const [first] = heredocs;
    if (command.form === 'exec' || first === undefined) return { words: this.#words(command), files: [] };
    if (heredocMark(command.text, where) === undefined) {
      // more than a lone here-document: sh itself reads them
      const bodies = heredocs.map(({ name, content }) => `\n${content}${name}`);
      return { words: this.#withShell(command.text + bodies.join('')), files: [] };
    }
    const content = first.chomp ? chomp(first.content) : first.content;
    if (!content.startsWith('#!')) return { words: this.#withShell(content), files: [] };
    if (first.name.includes('/') || first.name === '.' || first.name === '..')
      throw dockerfileError(`a script cannot be named ${first.name}`, where, 'use a plain word, as RUN <<EOF');
    // an interpreter's script is shown to the command as a file; shell form wraps its path, as BuildKit does
    return { words: this.#withShell(`/dev/pipes/${first.name}`), files: [{ name: first.name, content }] };
  }
}

const config = (edit: ConfigEdit, createdBy: string): { operation: Operation; createdBy: string } => ({
  operation: { kind: 'config', edit },
  createdBy,
});

/** `RUN make`, with a glimpse of a here-document. */
function display(instruction: StageInstruction): string {
  const { source, keyword } = instruction;
  const text = keyword.toUpperCase() + source.slice(keyword.length);
  if (instruction.kind !== 'run' || instruction.heredocs.length === 0) return text;
  const [head = '', ...more] = trimmed(instruction.heredocs[0]!.content).split(/\r?\n/);
  return `${text} (${head}${more.length > 0 ? '...' : ''})`;
}

function trimmed(text: string): string {
  let start = 0;
  while (start < text.length && isSpace(text[start]!)) start++;
  return text.slice(start).trimEnd();
}

/** The scope a stage starts with whose base is an image or scratch. */
export function scopeOf(start: {
  Env?: readonly string[];
  WorkingDir?: string;
  User?: string;
  Shell?: readonly string[];
}): StageScope {
  const env = new Map((start.Env ?? []).map(splitEnv));
  return {
    env,
    visible: env,
    args: new Map(),
    workdir: start.WorkingDir ? posix.resolve('/', start.WorkingDir) : '',
    workdirSet: false,
    user: start.User ?? '',
    shell: start.Shell !== undefined && start.Shell.length > 0 ? start.Shell : undefined,
  };
}
