// What one registry is told of who is asking.
export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  /** An OAuth2 refresh token (`identitytoken` in docker's config). */
  readonly identityToken?: string;
  /** A token to send as it is (`registrytoken` in docker's config). */
  readonly registryToken?: string;
}
