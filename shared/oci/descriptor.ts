// OCI image spec descriptor.md.
import { type Digest, parseDigest } from './digest.ts';
import { asCount, asObject, asString, asStringMap, asStrings, invalid, optional, withoutNulls } from './fields.ts';
import { type Platform, readPlatform } from './platform.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly urls?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly data?: string;
  readonly artifactType?: string;
  readonly platform?: Platform;
}

/** RFC 6838 type/subtype, as descriptor.md asks for, with a bound on its length. */
const mediaTypeShape = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/;

export function asMediaType(value: unknown, where: string): string {
  const text = asString(value, where);
  if (!mediaTypeShape.test(text)) throw invalid(where, `${JSON.stringify(text.slice(0, 140))} is not a media type`);
  return text;
}

/**
 * The descriptor in parsed JSON. Unknown members are kept.
 * @throws INVALID_DOCUMENT or INVALID_DIGEST naming the member below `where`.
 */
export function parseDescriptor(value: unknown, where = 'descriptor'): Descriptor {
  const from = asObject(value, where);
  const mediaType = asMediaType(from.mediaType, `${where}.mediaType`);
  const digest = parseDigest(from.digest, `${where}.digest`);
  const size = asCount(from.size, `${where}.size`);
  optional(from.urls, `${where}.urls`, asStrings);
  optional(from.annotations, `${where}.annotations`, asStringMap);
  optional(from.data, `${where}.data`, asString);
  optional(from.artifactType, `${where}.artifactType`, asString);
  const platform = optional(from.platform, `${where}.platform`, readPlatform);
  return { ...withoutNulls(from), mediaType, digest, size, ...(platform && { platform }) };
}
