// The network of a runner's commands: a namespace of their own, joined to the machine by one virtual cable, from which the internet and a
// resolver are in reach and nothing of the machine is. Neither its local servers (hooks, a runtime's API, abstract sockets) nor the
// addresses where clouds hand out credentials. The machine's own network is left as it is: what looks after a MicroVM talks to the
// metadata address itself and may not lose it. docs/security.md, "Runners"; docs/decisions/0016.
import { execFile, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { promisify } from 'node:util';
import { SlipwayError } from '../errors.ts';
import { type DnsForwarder, forwardDns } from './dns-forwarder.ts';
import type { SandboxNetwork } from './machine.ts';
import { machineResolvConf } from './network-files.ts';
import { reachable } from './reach.ts';

/** Instance metadata, AWS's resolver, container credentials (ECS and CodeBuild, EKS), and the IPv6 forms. */
export const credentialAddresses = [
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  'fd00:ec2::254',
  'fd00:ec2::23',
] as const;

/** What is never forwarded: every link-local address. The resolver among them is asked by this machine, for the command. */
const closed = ['169.254.0.0/16', '127.0.0.0/8'] as const;

/** Addresses of RFC 5737, which no network has: nothing that a command may want to reach is hidden by them. */
const machineAddress = '192.0.2.1';
const commandAddress = '192.0.2.2';
const bits = 30;
const cable = 'slipway-run';

/** In the order in which they are tried: the machine's choice, then each by its name. Lambda's MicroVMs have a kernel without nf_tables. */
const firewalls = ['iptables', 'iptables-legacy', 'iptables-nft'] as const;

export interface RunNetwork extends AsyncDisposable {
  /** What a sandbox takes. */
  readonly sandbox: SandboxNetwork;
  /** Which tool set up the firewall. */
  readonly firewall: string;
}

export interface RunNetworkOptions {
  /** TCP ports of this machine that must be out of reach, on whatever address: the runner's own server, for one. */
  readonly ownPorts?: readonly number[];
  readonly signal?: AbortSignal;
}

/**
 * Opens the network, tries it from the inside, and answers it. Anything left of an earlier one is replaced. Needs root with
 * CAP_NET_ADMIN and CAP_SYS_ADMIN, iproute2 and iptables.
 * @throws SANDBOX_UNAVAILABLE when it cannot be had or does not hold: then nothing must be run on this machine
 */
export async function openRunNetwork(options: RunNetworkOptions = {}): Promise<RunNetwork> {
  const { ownPorts = [], signal } = options;
  await using undo = new AsyncDisposableStack();
  const holder = await hold();
  undo.defer(() => holder.end());
  const fd = openSync(`/proc/${holder.pid}/ns/net`, 'r');
  undo.defer(() => closeSync(fd));
  const path = `/proc/${process.pid}/fd/${fd}`;

  undo.defer(() => quietly(`ip link del ${cable}`));
  await sh(`ip link del ${cable} 2>/dev/null || :
ip link add ${cable} type veth peer name eth0 netns ${holder.pid}
ip addr add ${machineAddress}/${bits} dev ${cable}
${noIpv6(cable)}
ip link set ${cable} up
echo 1 >/proc/sys/net/ipv4/ip_forward`);
  // An error at once, rather than silence until a time limit, for what is looked for by habit. The firewall does not depend on it.
  await sh(
    `ip link set lo up
ip addr add ${commandAddress}/${bits} dev eth0
${noIpv6('eth0')}
ip link set eth0 up
ip route add default via ${machineAddress}
ip route add unreachable ${closed[0]}`,
    path,
  );
  const firewall = await wall(undo);
  let dns: DnsForwarder;
  try {
    dns = await forwardDns(machineAddress, () => machineResolvConf());
  } catch (cause) {
    throw closedFailed(`no resolver can be had on ${machineAddress}: ${String(cause)}`, cause);
  }
  undo.defer(() => dns[Symbol.asyncDispose]());

  const targets = [
    ...credentialAddresses.map((host) => ({ host, port: 80 })),
    ...ownPorts.map((port) => ({ host: machineAddress, port })),
    ...ownPorts.map((port) => ({ host: '127.0.0.1', port })),
  ];
  const open = await reachable(path, targets, signal);
  if (open.length > 0) throw closedFailed(`a command could still reach ${open.join(', ')}`);

  await holder.end();
  const kept = undo.move();
  return {
    firewall,
    sandbox: { path, resolvConf: resolvConf(machineResolvConf()) },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** What a command's resolv.conf says: this machine's words, but for who is asked. */
export function resolvConf(machine: string): string {
  const kept = machine
    .split('\n')
    .filter((line) => /^(search|domain|options)\s/.test(line) && !/\b(edns0|trust-ad)\b/.test(line));
  return [`nameserver ${machineAddress}`, ...kept, ''].join('\n');
}

const noIpv6 = (device: string): string => {
  const file = `/proc/sys/net/ipv6/conf/${device}/disable_ipv6`;
  return `[ ! -e ${file} ] || echo 1 >${file}`;
};

/** Only matches that every kernel with docker's has. What is refused is dropped: the REJECT target may be missing. */
function rules(tool: string): string {
  const t = `${tool} -w`;
  const dns = ['udp', 'tcp'].map(
    (protocol) => `$t -A SLIPWAY-IN -i ${cable} -d ${machineAddress} -p ${protocol} --dport 53 -j ACCEPT`,
  );
  return `t='${t}'
for chain in SLIPWAY-IN SLIPWAY-FORWARD; do $t -N $chain 2>/dev/null || $t -F $chain; done
$t -t nat -N SLIPWAY-OUT 2>/dev/null || $t -t nat -F SLIPWAY-OUT
${dns.join('\n')}
$t -A SLIPWAY-IN -i ${cable} -j DROP
$t -A SLIPWAY-FORWARD -i ${cable} ! -s ${commandAddress} -j DROP
${closed.map((net) => `$t -A SLIPWAY-FORWARD -i ${cable} -d ${net} -j DROP`).join('\n')}
$t -A SLIPWAY-FORWARD -i ${cable} -j ACCEPT
$t -A SLIPWAY-FORWARD -o ${cable} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
$t -A SLIPWAY-FORWARD -o ${cable} -j DROP
$t -t nat -A SLIPWAY-OUT -s ${commandAddress} ! -o ${cable} -j MASQUERADE
$t -C INPUT -j SLIPWAY-IN 2>/dev/null || $t -I INPUT 1 -j SLIPWAY-IN
$t -C FORWARD -j SLIPWAY-FORWARD 2>/dev/null || $t -I FORWARD 1 -j SLIPWAY-FORWARD
$t -t nat -C POSTROUTING -j SLIPWAY-OUT 2>/dev/null || $t -t nat -I POSTROUTING 1 -j SLIPWAY-OUT`;
}

/** Each line on its own: what is not there need not go. */
const unwall = (tool: string): string => `t='${tool} -w'
$t -D INPUT -j SLIPWAY-IN
$t -D FORWARD -j SLIPWAY-FORWARD
$t -t nat -D POSTROUTING -j SLIPWAY-OUT
for chain in SLIPWAY-IN SLIPWAY-FORWARD; do $t -F $chain; $t -X $chain; done
$t -t nat -F SLIPWAY-OUT; $t -t nat -X SLIPWAY-OUT`;

async function wall(undo: AsyncDisposableStack): Promise<string> {
  const failures: string[] = [];
  for (const tool of firewalls) {
    try {
      await sh(rules(tool));
      undo.defer(() => quietly(unwall(tool)));
      return tool;
    } catch (error) {
      await quietly(unwall(tool));
      failures.push(`${tool}: ${error instanceof SlipwayError ? error.message : String(error)}`);
    }
  }
  throw closedFailed(`no firewall can be set up: ${failures.join('; ')}`);
}

interface Holder {
  readonly pid: number;
  end(): Promise<void>;
}

/** A process in a new network namespace, until the namespace is held by a descriptor. It ends with this one, whatever happens. */
async function hold(): Promise<Holder> {
  const child = spawn('unshare', ['--net', '--', 'sh', '-c', 'echo; exec cat'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  child.stdin.on('error', () => undefined);
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const started = await new Promise<boolean>((resolve) => {
    child.once('error', (error) => {
      said += error.message;
      resolve(false);
    });
    child.once('exit', () => resolve(false));
    child.stdout.once('data', () => resolve(true));
  });
  if (!started || child.pid === undefined) throw closedFailed(`no network namespace can be made: ${said.trim()}`);
  return {
    pid: child.pid,
    async end() {
      child.stdin.end();
      await ended;
    },
  };
}

const run = promisify(execFile);

/** Stops at the first line that fails; `network`: in that namespace. SANDBOX_UNAVAILABLE with what it said. */
async function sh(script: string, network?: string): Promise<void> {
  const words = ['-euc', script];
  try {
    if (network === undefined) await run('sh', words, { env: environment() });
    else await run('nsenter', [`--net=${network}`, '--', 'sh', ...words], { env: environment() });
  } catch (cause) {
    const { stderr = '', message } = cause as { readonly stderr?: string; readonly message: string };
    throw closedFailed(stderr.trim() || message, cause);
  }
}

/** For taking things away that may not be there. */
const quietly = async (script: string): Promise<void> => {
  await run('sh', ['-c', `exec >/dev/null 2>&1\n${script}\n:`], { env: environment() });
};

/** Tools of administrators are not in everybody's PATH. Nothing else of this process's environment is theirs. */
const environment = (): NodeJS.ProcessEnv => ({ PATH: `${process.env.PATH ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`, LC_ALL: 'C' });

const closedFailed = (message: string, cause?: unknown): SlipwayError =>
  new SlipwayError('SANDBOX_UNAVAILABLE', `the network of commands cannot be closed off on this machine: ${message}`, {
    ...(cause === undefined ? {} : { cause }),
    hint: 'A runner needs root with CAP_NET_ADMIN and CAP_SYS_ADMIN, iproute2 and iptables (Debian: iptables, Amazon Linux: iptables-legacy).',
  });
