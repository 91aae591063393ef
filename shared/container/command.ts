// What a container starts: an image's ENTRYPOINT and CMD against what was asked for (features F83 to F90). Pure.
import { SlipwayError } from '../errors.ts';
import type { RuntimeConfig } from '../oci/config.ts';

export interface Asked {
  /** Words after the image. */
  readonly args: readonly string[];
  /** `--entrypoint`: one word, no arguments; '' clears the image's. Undefined: not given. */
  readonly entrypoint?: string;
}

/**
 * The words to start. Words after the image replace CMD whole; `--entrypoint` replaces ENTRYPOINT and drops the image's CMD with it.
 * Shell form is exec form with a shell by the time it is in a config, so a shell-form ENTRYPOINT gets CMD as words that `sh -c` ignores.
 * RUN_ENGINE when there is nothing to start.
 */
export function containerCommand(config: Pick<RuntimeConfig, 'Entrypoint' | 'Cmd'>, asked: Asked): string[] {
  const replaced = asked.entrypoint !== undefined;
  const entrypoint = replaced ? (asked.entrypoint === '' ? [] : [asked.entrypoint!]) : (config.Entrypoint ?? []);
  const rest = asked.args.length > 0 ? asked.args : replaced ? [] : (config.Cmd ?? []);
  const words = [...entrypoint, ...rest];
  if (words.length === 0 || words[0] === '') {
    throw new SlipwayError('RUN_ENGINE', 'no command specified', {
      hint: 'The image has neither ENTRYPOINT nor CMD: name a command after it, as in `slipway run IMAGE sh`.',
    });
  }
  return words;
}

/** The PATH a container gets when neither its image nor the caller sets one (docker's default for Linux). */
export const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/**
 * The environment of a container, as docker composes it: PATH, HOSTNAME and (with a terminal) TERM, then the image's, then what was
 * asked for, then HOME of its user where nobody set one. A later assignment replaces an earlier one in its place.
 */
export function containerEnv(
  image: readonly string[],
  asked: readonly string[],
  facts: { readonly hostname: string; readonly terminal: boolean; readonly home: string },
): string[] {
  const pairs = new Map<string, string>();
  const set = (pair: string) => {
    const at = pair.indexOf('=');
    pairs.set(at < 0 ? pair : pair.slice(0, at), pair);
  };
  set(defaultPath);
  set(`HOSTNAME=${facts.hostname}`);
  if (facts.terminal) set('TERM=xterm');
  for (const pair of [...image, ...asked]) if (pair.includes('=')) set(pair);
  if (!pairs.has('HOME')) set(`HOME=${facts.home}`);
  return [...pairs.values()];
}

/**
 * `-e` and the lines of `--env-file`: `NAME=value` stands, `NAME` alone takes the caller's value or is left out where it has none.
 * Lines beginning with `#` and empty ones are nothing; values are taken as they are, quotes included.
 */
export function envFromFile(text: string, file: string, own: Readonly<Record<string, string | undefined>>): string[] {
  return text.split(/\r?\n/).flatMap((raw, index) => {
    const line = (index === 0 ? raw.replace(/^\ufeff/, '') : raw).trimStart();
    if (line === '' || line.startsWith('#')) return [];
    const [name] = line.split('=', 1);
    if (name === '' || /\s/.test(name!)) {
      throw new SlipwayError('USAGE', `bad variable name in ${file}, line ${index + 1}: ${JSON.stringify(name)}`, {
        hint: 'Each line is NAME=value or NAME, without blanks before the `=`.',
      });
    }
    return envFromFlag(line, own);
  });
}

export function envFromFlag(word: string, own: Readonly<Record<string, string | undefined>>): string[] {
  if (word === '' || word.startsWith('=')) throw new SlipwayError('USAGE', `invalid environment variable: ${word}`);
  if (word.includes('=')) return [word];
  const value = own[word];
  return value === undefined ? [] : [`${word}=${value}`];
}
