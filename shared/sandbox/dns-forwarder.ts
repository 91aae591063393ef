// A resolver for commands in a network of their own: hands their questions, unread, to the resolvers of this machine, which may listen on
// its loopback only. UDP as it comes; TCP for what does not fit.
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { connect, createServer, isIPv6, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';

export type DnsForwarder = AsyncDisposable;

/** Questions that wait for an answer at the same time; what comes on top is not heard, as on a busy network. */
const most = 256;
/** Milliseconds for an answer; askers ask again after five seconds by themselves. */
const patience = 10_000;
const port = 53;

/** `resolvConf` is read for every question: a machine that was suspended may have others afterwards. Rejects when it cannot listen. */
export async function forwardDns(address: string, resolvConf: () => string): Promise<DnsForwarder> {
  const upstreams = (): readonly string[] => nameservers(resolvConf());
  const open = new Set<UdpSocket | Socket>();
  const udp = createSocket('udp4');
  udp.on('error', () => undefined);
  udp.on('message', (question, from) => {
    // Too short for a header, or more than can be waited for.
    if (question.length < 12 || open.size >= most) return;
    ask(question, from, upstreams(), { udp, open });
  });
  const tcp = createServer({ pauseOnConnect: true }, (asker) => {
    asker.on('error', () => undefined);
    const [first] = upstreams();
    if (first === undefined || open.size >= most) return void asker.destroy();
    const upstream = connect({ host: first, port });
    for (const socket of [asker, upstream]) {
      open.add(socket);
      socket.setTimeout(patience, () => socket.destroy());
      socket.once('close', () => open.delete(socket));
    }
    // Whoever hangs up first ends both.
    Promise.all([pipeline(asker, upstream), pipeline(upstream, asker)]).catch(() => {
      asker.destroy();
      upstream.destroy();
    });
  });
  tcp.on('error', () => undefined);
  try {
    await new Promise<void>((resolve, reject) => {
      udp.once('error', reject);
      udp.bind(port, address, resolve);
    });
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      tcp.listen(port, address, resolve);
    });
  } catch (error) {
    udp.close();
    await closed(tcp);
    throw error;
  }
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of open) {
        if ('destroy' in socket) socket.destroy();
        else socket.close();
      }
      open.clear();
      await Promise.all([closed(tcp), new Promise<void>((resolve) => udp.close(() => resolve()))]);
    },
  };
}

/** Of a resolv.conf(5), at most three; where it names none, this machine is asked. */
export function nameservers(text: string): readonly string[] {
  const named = [...text.matchAll(/^nameserver\s+([0-9A-Fa-f.:]+)(?:%\S+)?\s*$/gm)].map(([, address]) => address as string);
  return named.length === 0 ? ['127.0.0.1'] : named.slice(0, 3);
}

interface Port {
  readonly udp: UdpSocket;
  readonly open: Set<UdpSocket | Socket>;
}

/** All resolvers at once, as some libraries do; the first answer counts. A socket a question, so that nobody can guess the port. */
function ask(question: Buffer, from: RemoteInfo, upstreams: readonly string[], { udp, open }: Port): void {
  let answered = false;
  for (const upstream of upstreams) {
    const socket = createSocket(isIPv6(upstream) ? 'udp6' : 'udp4');
    const end = (): void => {
      clearTimeout(late);
      if (open.delete(socket)) socket.close();
    };
    const late = setTimeout(end, patience);
    open.add(socket);
    socket.on('error', end);
    socket.on('message', (answer) => {
      if (!answered) udp.send(answer, from.port, from.address);
      answered = true;
      end();
    });
    socket.once('connect', () => socket.send(question));
    socket.connect(port, upstream);
  }
}

const closed = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    if (!server.listening) return resolve();
    server.close(() => resolve());
  });
