// Runs in CloudFront (CloudFront Functions, cloudfront-js-2.0) for every request: the challenge for this very call, which API Gateway gives
// out with its 401. A gateway cannot make one by itself: its header is one fixed text, or one header of the request. A test compares
// the scopes with those that shared/registry/token-guard.ts asks for.

// biome-ignore lint/correctness/noUnusedVariables: CloudFront calls it by this name.
function handler(event) {
  const request = event.request;
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
