// A token server for Debian's docker-registry (distribution docs/content/spec/auth/token.md): RS256 JWTs whose key the registry knows
// by the certificate in the x5c header. One user; everyone may pull what `publicPaths` names.
import { createSign } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { must } from './command.ts';

export interface TokenServer extends AsyncDisposable {
  /** The `auth` part of docker-registry's configuration. */
  readonly config: string;
  /** Scopes asked for so far. */
  readonly asked: string[];
}

const base64url = (value: string | Buffer): string => Buffer.from(value).toString('base64url');

export async function startTokenServer(
  folder: string,
  user: { readonly name: string; readonly password: string },
  publicPaths: readonly string[] = [],
): Promise<TokenServer> {
  const keyFile = join(folder, 'token.key');
  const certificate = join(folder, 'token.crt');
  await must([
    ...['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', keyFile, '-out', certificate],
    ...['-days', '2', '-subj', '/CN=token'],
  ]);
  const key = await readFile(keyFile);
  const der = (await readFile(certificate, 'utf8')).replace(/-----[^-]+-----|\s/g, '');
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://token');
    const sent = Buffer.from((request.headers.authorization ?? '').replace(/^Basic /, ''), 'base64').toString();
    const known = sent === `${user.name}:${user.password}`;
    if (request.headers.authorization !== undefined && !known) {
      response.writeHead(401, { 'content-type': 'application/json' }).end('{"errors":[{"code":"UNAUTHORIZED"}]}');
      return;
    }
    const scopes = url.searchParams.getAll('scope');
    asked.push(...scopes);
    const access = scopes.flatMap((scope) => {
      const [type = '', name = '', actions = ''] = scope.split(':');
      const granted = actions.split(',').filter((action) => known || (action === 'pull' && publicPaths.includes(name)));
      return granted.length === 0 ? [] : [{ type, name, actions: granted }];
    });
    const now = Math.floor(Date.now() / 1000);
    const header = base64url(JSON.stringify({ typ: 'JWT', alg: 'RS256', x5c: [der] }));
    const claims = {
      iss: 'test-issuer',
      sub: known ? user.name : '',
      aud: 'test-service',
      exp: now + 300,
      nbf: now - 10,
      iat: now,
      jti: String(now),
      access,
    };
    const body = `${header}.${base64url(JSON.stringify(claims))}`;
    const token = `${body}.${base64url(createSign('RSA-SHA256').update(body).sign(key))}`;
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ token, expires_in: 300 }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    asked,
    config: `  token:
    realm: http://127.0.0.1:${address.port}/token
    service: test-service
    issuer: test-issuer
    rootcertbundle: ${certificate}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}
