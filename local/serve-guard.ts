// Who may speak to a registry served from a laptop. Without a login it answers this machine only, and even there browsers are kept
// out: any web page can make a browser send requests to localhost, and a name that is rebound to 127.0.0.1 makes the answers
// readable to the page (DNS rebinding).
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import { isLoopback } from '../shared/client/address.ts';
import { type Call, json, type Reply } from '../shared/registry/exchange.ts';

export interface Login {
  readonly username: string;
  readonly password: string;
}

const refused = (code: 'DENIED' | 'UNAUTHORIZED', message: string, headers: Record<string, string> = {}): Reply =>
  json(code === 'DENIED' ? 403 : 401, { errors: [{ code, message }] }, headers);

/** For a server on a loopback address without a login. */
export function localOnly(call: Call): Reply | undefined {
  const host = hostname(call.header('host'));
  // An address cannot be rebound, only a name can.
  if (host === undefined || (isIP(host) === 0 && !isLoopback(host))) {
    return refused('DENIED', 'this registry answers to localhost and to addresses only, not to other names');
  }
  return noBrowser(call);
}

/** Browsers say where a request comes from; registry clients say nothing. */
export function noBrowser(call: Call): Reply | undefined {
  const site = call.header('sec-fetch-site');
  const foreign = site !== undefined && site !== 'none' && site !== 'same-origin';
  if (!foreign && call.header('origin') === undefined) return undefined;
  return refused('DENIED', 'this registry does not answer web pages');
}

/** Asks every call for one login (RFC 7617). Compared in a time that tells nothing. */
export function basicLogin(login: Login): (call: Call) => Reply | undefined {
  const digest = (text: string): Buffer => createHash('sha256').update(text, 'utf8').digest();
  const expected = digest(`${login.username}:${login.password}`);
  return (call) => {
    const sent = /^Basic +([A-Za-z0-9+/=]+)$/i.exec(call.header('authorization') ?? '')?.[1];
    const given = Buffer.from(sent ?? '', 'base64').toString('utf8');
    if (sent !== undefined && timingSafeEqual(digest(given), expected)) return undefined;
    return refused('UNAUTHORIZED', 'authentication required', { 'www-authenticate': 'Basic realm="slipway", charset="UTF-8"' });
  };
}

function hostname(host: string | undefined): string | undefined {
  if (host === undefined || !URL.canParse(`http://${host}`)) return undefined;
  return new URL(`http://${host}`).hostname.replace(/^\[|\]$/g, '').toLowerCase();
}
