// Who may go on with an upload at another host: whoever was given its URL. The ticket in it is good for one upload of one repository and
// an hour after the last answer, so that no token has to travel to that host (clients take theirs off there) and none of it would be of
// use for anything else.
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { SlipwayError } from '../errors.ts';

/** Seconds from one answer to the next request. */
const life = 3600;

export class UploadTickets {
  readonly #key: Buffer;
  readonly #now: () => number;

  /** `secret`: the one that signs tokens; tickets have a key of their own. `now`: seconds since 1970. */
  constructor(secret: string, now: () => number) {
    if (Buffer.byteLength(secret) < 32)
      throw new SlipwayError('INTERNAL', 'the secret that signs upload tickets is shorter than 32 bytes');
    this.#key = Buffer.from(hkdfSync('sha256', secret, '', 'slipway upload ticket v1', 32));
    this.#now = now;
  }

  issue(repository: string, id: string): string {
    const until = Math.floor(this.#now()) + life;
    return `${until.toString(36)}.${this.#mac(repository, id, until)}`;
  }

  check(ticket: string | null, repository: string, id: string): boolean {
    const [, encoded, mac] = /^([0-9a-z]{1,9})\.([A-Za-z0-9_-]{43})$/.exec(ticket ?? '') ?? [];
    if (encoded === undefined || mac === undefined) return false;
    const until = Number.parseInt(encoded, 36);
    const expected = Buffer.from(this.#mac(repository, id, until));
    return timingSafeEqual(Buffer.from(mac), expected) && until > this.#now();
  }

  // Neither a repository nor an id has a space in it.
  #mac = (repository: string, id: string, until: number): string =>
    createHmac('sha256', this.#key).update(`${repository} ${id} ${until}`).digest('base64url');
}
