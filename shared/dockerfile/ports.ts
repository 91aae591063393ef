// EXPOSE's ports: `80`, `80/udp`, `8000-8010/tcp`; the forms with an address or a host port are tolerated with a warning, as Docker does.
import type { SourceRange } from '../errors.ts';
import { dockerfileError } from './failure.ts';

export interface ExposedPorts {
  /** `port/protocol`, ranges written out. */
  readonly ports: readonly string[];
  /** The protocol was not lower case. */
  readonly protocolCasing: boolean;
  /** It had an address or a host port. */
  readonly mapping: boolean;
}

const protocols = ['tcp', 'udp', 'sctp'];

/** @throws SlipwayError DOCKERFILE at `where`. */
export function parsePorts(text: string, where: SourceRange): ExposedPorts {
  const bad = (why: string): Error => dockerfileError(why, where, 'EXPOSE takes 80, 80/udp or 8000-8010/tcp');
  const colon = text.lastIndexOf(':');
  const container = text.slice(colon + 1);
  const [range = '', protocol = '', ...more] = container.split('/');
  if (range === '') throw bad(`invalid port: "${text}": no port specified`);
  const lower = protocol.toLowerCase() || 'tcp';
  if (more.length > 0 || !protocols.includes(lower))
    throw bad(`invalid port: "${text}": invalid proto: ${[protocol, ...more].join('/')}`);
  const span = portRange(range);
  if (span === undefined) throw bad(`invalid containerPort: ${range}`);
  if (colon >= 0) hostPart(text.slice(0, colon), span, range, bad);
  const ports: string[] = [];
  for (let port = span.first; port <= span.last; port++) ports.push(`${port}/${lower}`);
  return { ports, protocolCasing: protocol !== protocol.toLowerCase(), mapping: colon >= 0 && text.slice(0, colon) !== '' };
}

interface Span {
  readonly first: number;
  readonly last: number;
}

function portRange(text: string): Span | undefined {
  const match = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(text);
  if (match === null) return undefined;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  return first > 65535 || last > 65535 || last < first ? undefined : { first, last };
}

/** `[address:]hostPorts`, checked only for sense: it has no effect. */
function hostPart(text: string, container: Span, range: string, bad: (why: string) => Error): void {
  const colon = text.lastIndexOf(':');
  const address = colon < 0 ? '' : text.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  if (address !== '' && !/^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)$/.test(address))
    throw bad(`invalid IP address: ${address}`);
  const ports = text.slice(colon + 1);
  if (ports === '') return;
  const host = portRange(ports);
  if (host === undefined) throw bad(`invalid hostPort: ${ports}`);
  if (container.last !== container.first && container.last - container.first !== host.last - host.first)
    throw bad(`invalid ranges specified for container and host Ports: ${range} and ${ports}`);
}
