// What the command line remembers for a user: contexts (names of endpoints), and which one is in use. Logins are kept as docker keeps
// them (shared/auth/docker-config.ts).
import { chmodSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, SlipwayError } from '../shared/errors.ts';
import { makeFolder } from '../shared/store/make-folder.ts';
import { userHome } from '../shared/user-home.ts';

type Env = Readonly<Record<string, string | undefined>>;

export interface NamedContext {
  /** A URL as `endpointUrl` gives it. */
  readonly endpoint: string;
  readonly description?: string;
  /** Keeps the files of builds apart from those of other projects; `default` without it. */
  readonly project?: string;
}

export interface Settings {
  readonly current?: string;
  readonly contexts: Readonly<Record<string, NamedContext>>;
}

/** The name of the home on this machine, in the list of contexts. */
export const embeddedName = 'default';

/** SLIPWAY_CONFIG, else slipway/ in the user's configuration folder (XDG base directory specification). */
export const settingsFolder = (env: Env): string =>
  env.SLIPWAY_CONFIG || join(env.XDG_CONFIG_HOME || join(userHome(env), '.config'), 'slipway');

const fileIn = (env: Env): string => join(settingsFolder(env), 'settings.json');
const none: Settings = { contexts: {} };

/** An absent file is empty settings; a damaged one is INVALID_DOCUMENT. */
export function readSettings(env: Env): Settings {
  const file = fileIn(env);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR') return none;
    throw new SlipwayError('USAGE', `cannot read ${file}: ${errnoOf(cause)}`, {
      hint: 'It says which home to work with. If it is of another user, set HOME, or SLIPWAY_CONFIG to a folder of your own.',
      cause,
    });
  }
  const damaged = (why: string, cause?: unknown): SlipwayError =>
    new SlipwayError('INVALID_DOCUMENT', `${file} is damaged: ${why}`, {
      hint: 'Mend it, or delete it and name the contexts again.',
      ...(cause === undefined ? {} : { cause }),
    });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw damaged('it is not JSON', cause);
  }
  const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);
  if (!isObject(value)) throw damaged('it is not an object');
  const { current, contexts = {} } = value;
  if (current !== undefined && typeof current !== 'string') throw damaged('"current" is not a name');
  if (!isObject(contexts)) throw damaged('"contexts" is not an object');
  for (const [name, context] of Object.entries(contexts)) {
    if (!isObject(context) || typeof context.endpoint !== 'string') throw damaged(`the context "${name}" has no endpoint`);
  }
  return {
    ...(current === undefined ? {} : { current }),
    contexts: contexts as Settings['contexts'],
  };
}

/** Replaces the file atomically; its mode is 0600. */
export function writeSettings(env: Env, settings: Settings): void {
  const folder = settingsFolder(env);
  const file = fileIn(env);
  const partial = `${file}.${process.pid}.partial`;
  try {
    makeFolder(folder, 0o700);
    writeFileSync(partial, `${JSON.stringify(settings, undefined, 2)}\n`, { mode: 0o600 });
    chmodSync(partial, 0o600);
    renameSync(partial, file);
  } catch (cause) {
    rmSync(partial, { force: true });
    throw new SlipwayError('USAGE', `cannot write ${file}: ${errnoOf(cause)}`, {
      hint: 'Choose another folder with SLIPWAY_CONFIG.',
      cause,
    });
  }
}

/** Names are typed, and shown in tables. */
export function checkContextName(name: string): string {
  if (name !== embeddedName && /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$/.test(name)) return name;
  throw new SlipwayError(
    'USAGE',
    name === embeddedName
      ? `the context "${embeddedName}" is the home on this machine, and always there`
      : `"${name}" is not a name for a context`,
    { hint: 'Use letters, digits, and . _ - inside, e.g. team.' },
  );
}
