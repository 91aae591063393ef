// Which home a command speaks to: the one on this machine, or one at an endpoint.
import type { Credentials } from '../shared/auth/credentials.ts';
import { SlipwayError } from '../shared/errors.ts';
import { embeddedName, readSettings } from './settings.ts';

type Env = Readonly<Record<string, string | undefined>>;

export interface Endpoint {
  /** As `endpointUrl` gives it. */
  readonly url: string;
  /** Where it was chosen, for messages: `SLIPWAY_ENDPOINT`, or `the context "team"`. */
  readonly chosenBy: string;
  readonly project: string;
  /** To be used instead of what is stored. */
  readonly login?: Credentials;
}

/** The URL in one spelling: a scheme (HTTPS without one; plain HTTP only for this machine), no `/` at the end, no login in it. */
export function endpointUrl(given: string): string {
  const wrong = (why: string): SlipwayError =>
    new SlipwayError('USAGE', `"${given}" is not an endpoint: ${why}`, {
      hint: 'Give a URL such as https://images.example.com.',
    });
  const local = /^(localhost|127\.|\[::1\])/.test(given);
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(given) ? given : `${local ? 'http' : 'https'}://${given}`;
  if (given === '' || !URL.canParse(text)) throw wrong('it is no URL');
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw wrong('only https and http are spoken');
  if (url.username !== '' || url.password !== '') throw wrong('a login does not belong into it; use `slipway login`');
  if (url.search !== '' || url.hash !== '') throw wrong('it has a query or a fragment');
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}

/** Undefined: the home on this machine. SLIPWAY_ENDPOINT comes first, then SLIPWAY_CONTEXT (or --context), then `slipway context use`. */
export function chosenEndpoint(env: Env): Endpoint | undefined {
  const settings = readSettings(env);
  if (env.SLIPWAY_ENDPOINT) {
    const url = endpointUrl(env.SLIPWAY_ENDPOINT);
    return { url, chosenBy: 'SLIPWAY_ENDPOINT', project: env.SLIPWAY_PROJECT || 'default', ...loginFrom(env) };
  }
  const name = env.SLIPWAY_CONTEXT || settings.current || embeddedName;
  if (name === embeddedName) return undefined;
  const context = Object.hasOwn(settings.contexts, name) ? settings.contexts[name] : undefined;
  if (context === undefined) {
    throw new SlipwayError('NOT_FOUND', `there is no context "${name}"`, {
      hint: `See those there are with \`slipway context ls\`; \`slipway context use ${embeddedName}\` goes back to the home on this machine.`,
    });
  }
  const url = endpointUrl(context.endpoint);
  return {
    url,
    chosenBy: `the context "${name}"`,
    project: env.SLIPWAY_PROJECT || context.project || 'default',
    ...loginFrom(env),
  };
}

/** For pipelines: nothing is stored. Other logins are docker's, and found by host (remote.ts). */
const loginFrom = (env: Env): { readonly login?: Credentials } =>
  env.SLIPWAY_TOKEN ? { login: { registryToken: env.SLIPWAY_TOKEN } } : {};
