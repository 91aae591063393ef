// Which addresses a registry client may be led to. A registry names other hosts in redirects, upload locations and token realms; a
// hostile one would name the address where a cloud machine keeps its credentials, or a service on this machine.
import { lookup as dnsLookup, type LookupAddress } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { SlipwayError } from '../errors.ts';

// Where clouds answer with credentials: IPv4 and IPv6 link-local, AWS's IPv6 address, Alibaba's. Nobody keeps a registry there.
const metadata = new BlockList();
metadata.addSubnet('169.254.0.0', 16, 'ipv4');
metadata.addSubnet('fe80::', 10, 'ipv6');
metadata.addAddress('fd00:ec2::254', 'ipv6');
metadata.addAddress('100.100.100.200', 'ipv4');

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');
const unspecified = new BlockList();
unspecified.addAddress('0.0.0.0', 'ipv4');
unspecified.addAddress('::', 'ipv6');

const inList = (list: BlockList, address: string): boolean => {
  const family = isIP(address);
  // An IPv4 address in IPv6 clothes (::ffff:a.b.c.d) is matched by its IPv4 rules: BlockList does that itself.
  return family !== 0 && list.check(address, family === 6 ? 'ipv6' : 'ipv4');
};

/** The address in a URL's hostname, without IPv6 brackets. */
const bare = (hostname: string): string => hostname.replace(/^\[|\]$/g, '');

/** True for 127.0.0.0/8, ::1 and the name localhost: where docker, too, takes plain HTTP for granted. */
export function isLoopback(hostname: string): boolean {
  const name = bare(hostname).toLowerCase();
  return name === 'localhost' || name.endsWith('.localhost') || inList(loopback, name);
}

function refuse(hostname: string, address: string): SlipwayError {
  const shown = hostname === address ? address : `${hostname} (${address})`;
  return new SlipwayError('DENIED', `refused to contact ${shown}: machines keep their credentials at such addresses`, {
    details: { host: hostname, address },
  });
}

const ownAddress = (hostname: string, address: string): SlipwayError =>
  new SlipwayError(
    'DENIED',
    `refused to contact ${hostname === address ? address : `${hostname} (${address})`}: the machine that builds`,
    {
      details: { host: hostname, address },
    },
  );

/**
 * DENIED for a literal metadata address, and for one of this machine when `from` (the host that led here) is elsewhere, or when this
 * machine is nothing to be reached (`thisMachine` false).
 */
export function checkAddress(hostname: string, from?: string, thisMachine = true): void {
  const name = bare(hostname);
  if (inList(metadata, name) || inList(unspecified, name)) throw refuse(name, name);
  if (!thisMachine && isLoopback(name)) throw ownAddress(name, name);
  if (from !== undefined && isLoopback(name) && !isLoopback(from)) {
    throw new SlipwayError('DENIED', `refused: ${from} sends us on to ${name}, an address of this machine`, {
      details: { host: name, from },
    });
  }
}

/** A DNS look-up that refuses names which lead to a metadata address and, with `thisMachine` false, to this machine. */
export const guardedLookup =
  (thisMachine: boolean): LookupFunction =>
  (hostname, options, callback) => {
    dnsLookup(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      if (error) {
        callback(error, '', 0);
        return;
      }
      const own = thisMachine
        ? undefined
        : addresses.find(({ address }) => inList(loopback, address) || inList(unspecified, address));
      if (own !== undefined) {
        callback(ownAddress(hostname, own.address), '', 0);
        return;
      }
      const bad = addresses.find(({ address }) => inList(metadata, address));
      if (bad !== undefined) {
        callback(refuse(hostname, bad.address), '', 0);
        return;
      }
      const [first] = addresses;
      if (options.all === true) callback(null, addresses);
      else callback(null, first?.address ?? '', first?.family ?? 0);
    });
  };
