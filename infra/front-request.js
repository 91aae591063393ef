// Runs in CloudFront (CloudFront Functions, cloudfront-js-2.0) for every request, and does what API Gateway cannot do by itself:
//
// - It adds the challenge for this very call, which the gateway gives out with its 401: its header is one fixed text, or one header of the
//   request. A test compares the scopes with those that shared/registry/token-guard.ts asks for.
// - It refuses what does not pass the gateway in words that say what to do: the gateway's own 413 cannot be worded, and what it tells its
//   functions has no length. A test compares limit and words with those of functions/gateway.ts.

const bodyLimit = 4500000;
const tooLarge =
  'more than 4.5 MB in one request do not pass the gateway: "slipway push", "slipway load" and "slipway build" send any size; other clients push in chunks of 4 MiB at most, or by an upload host (docs/account.md, Large layers)';

// biome-ignore lint/correctness/noUnusedVariables: CloudFront calls it by this name.
function handler(event) {
  const request = event.request;
  const length = request.headers['content-length'];
  if (length && Number(length.value) > bodyLimit) return refusal();
  const host = request.headers.host.value;
  const scope = scopeOf(request.method, request.uri);
  let challenge = `Bearer realm="https://${host}/token",service="${host}"`;
  if (scope !== '') {
    challenge += `,scope="${scope}"`;
    // RFC 6750 section 3.1: only to who showed a token.
    if (request.headers.authorization) {
      challenge += ',error="insufficient_scope",error_description="requested access to the resource is denied"';
    }
  }
  // In lower case here; it arrives as Slipway-Challenge (registry-api.ts).
  request.headers['slipway-challenge'] = { value: challenge };
  return request;
}

function refusal() {
  return {
    statusCode: 413,
    statusDescription: 'Content Too Large',
    headers: {
      'content-type': { value: 'application/json' },
      'docker-distribution-api-version': { value: 'registry/2.0' },
    },
    body: { encoding: 'text', data: JSON.stringify({ errors: [{ code: 'SIZE_INVALID', message: tooLarge }] }) },
  };
}

function scopeOf(method, uri) {
  if (uri === '/v2/_catalog' || uri === '/v1/search') return 'registry:catalog:*';
  const match =
    /^\/v2\/([a-z0-9._/-]{1,255})\/(blobs\/uploads\/?|blobs\/uploads\/[^/]+|(?:blobs|manifests)\/[^/]+|tags\/list|referrers\/[^/]+)$/.exec(
      uri,
    );
  if (match === null) return '';
  const last = match[2];
  let actions = 'pull';
  if (last.startsWith('blobs/uploads')) actions = 'pull,push';
  else if (last.startsWith('blobs/') || last.startsWith('manifests/')) {
    if (method === 'PUT') actions = 'pull,push';
    if (method === 'DELETE') actions = 'delete';
  }
  return `repository:${match[1]}:${actions}`;
}
