// Where clients get their tokens: GET with Basic credentials (distribution docs/content/spec/auth/token.md), POST as OAuth2 has it
// (oauth.md). The answers are those of the specification; the errors those of the registry, which clients show.
import type { Issued, Issuer, Login } from '../auth/issuer.ts';
import { formatScope } from '../auth/scope.ts';
import { errorReply, isFault, OciError } from './errors.ts';
import { type Call, type Handler, json, type Reply } from './exchange.ts';

export interface TokenEndpointParts {
  readonly issuer: Issuer;
  readonly requestId: () => string;
  readonly onFault?: (fault: { readonly requestId: string; readonly call: Call; readonly error: unknown }) => void;
}

/** A form is a few words and a refresh token. */
const formLimit = 64 * 1024;
/** Neither a token nor an answer about one may be kept by anything on the way. */
const unkept = { 'cache-control': 'no-store' };

/** Never rejects. */
export function tokenEndpoint({ issuer, requestId, onFault }: TokenEndpointParts): Handler {
  return async (call) => {
    try {
      if (call.method === 'GET') return await byGet(issuer, call);
      if (call.method === 'POST') return await byPost(issuer, call);
      throw new OciError('UNSUPPORTED', undefined, { headers: { allow: 'GET, POST' } });
    } catch (error) {
      const id = requestId();
      const reply = errorReply(error, () => id);
      if (isFault(reply)) onFault?.({ requestId: id, call, error });
      return { ...reply, headers: { ...unkept, ...reply.headers } };
    }
  };
}

async function byGet(issuer: Issuer, call: Call): Promise<Reply> {
  const query = new URLSearchParams(call.query);
  const authorization = call.header('authorization');
  const login = authorization === undefined ? ({ by: 'nobody' } as const) : basicLogin(authorization);
  const issued = await issuer.issue(login, query.getAll('scope'), query.get('offline_token') === 'true');
  if (issued === undefined) throw refused(login);
  return answer(issued, { token: issued.token });
}

async function byPost(issuer: Issuer, call: Call): Promise<Reply> {
  const type = call.header('content-type')?.split(';', 1)[0]?.trim().toLowerCase();
  if (type !== 'application/x-www-form-urlencoded') {
    throw new OciError('UNSUPPORTED', 'send a form: Content-Type application/x-www-form-urlencoded', { status: 415 });
  }
  const form = new URLSearchParams(await readForm(call));
  const login = formLogin(form);
  const issued = await issuer.issue(login, form.getAll('scope'), form.get('access_type') === 'offline');
  if (issued === undefined) throw refused(login);
  // A client that exchanged a refresh token expects one back: the same, which lives on.
  const refresh = issued.refreshToken ?? (login.by === 'refresh' ? login.token : undefined);
  return answer({ ...issued, ...(refresh === undefined ? {} : { refreshToken: refresh }) }, {});
}

/** RFC 7617. What is malformed is a login that fails, not an anonymous one. */
function basicLogin(authorization: string): Login {
  const encoded = /^Basic +([A-Za-z0-9+/]+={0,2}) *$/i.exec(authorization)?.[1];
  const text = Buffer.from(encoded ?? '', 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0) return { by: 'password', name: '', password: '' };
  return { by: 'password', name: text.slice(0, colon), password: text.slice(colon + 1) };
}

function formLogin(form: URLSearchParams): Login {
  const grant = form.get('grant_type');
  if (grant === 'password') return { by: 'password', name: form.get('username') ?? '', password: form.get('password') ?? '' };
  if (grant === 'refresh_token') return { by: 'refresh', token: form.get('refresh_token') ?? '' };
  throw new OciError('UNSUPPORTED', 'grant_type: password or refresh_token', { status: 400 });
}

async function readForm(call: Call): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of call.body) {
    size += chunk.length;
    if (size > formLimit) throw new OciError('SIZE_INVALID', `the form is larger than ${formLimit} bytes`, { status: 413 });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const refused = (login: Login): OciError =>
  new OciError(
    'UNAUTHORIZED',
    {
      nobody: 'this registry answers to nobody without a login: log in first (docker login)',
      password: 'incorrect username or password',
      refresh: 'the login has ended: log in again (docker login)',
    }[login.by],
  );

const answer = ({ token, expiresIn, issuedAt, scopes, refreshToken }: Issued, more: Record<string, string>): Reply =>
  json(
    200,
    {
      ...more,
      access_token: token,
      expires_in: expiresIn,
      issued_at: new Date(issuedAt * 1000).toISOString().replace('.000Z', 'Z'),
      scope: scopes.map(formatScope).join(' '),
      ...(refreshToken === undefined ? {} : { refresh_token: refreshToken }),
    },
    unkept,
  );
