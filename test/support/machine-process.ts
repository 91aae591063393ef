// A machine of a cloud, as far as the network goes, and the cloud around it: two network namespaces that go when this process goes.
// Started by test/support/machine.ts inside a network and a mount namespace of its own (the machine); it starts itself once more for the
// cloud. Each line it prints is `ready`, or `hit WHERE METHOD PATH` for what reached a place that gives credentials away.
import { execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import { createServer as createHttp, type Server as HttpServer } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';

export interface MachineSettings {
  /** Of unix sockets: `out-PORT` is where the machine's own PORT leads, `in-PORT` leads to it. */
  readonly folder: string;
  /** Ports of the machine's loopback that lead out. */
  readonly out: readonly number[];
  /** Ports of the machine's loopback that can be reached from outside. */
  readonly in: readonly number[];
  /** Of the disk for work, as mount(8) has it. */
  readonly disk: string;
}

const metadata = ['169.254.169.254', '169.254.170.2', '169.254.170.23', 'fd00:ec2::254', 'fd00:ec2::23'];
export const resolverAddress = '169.254.169.253';
/** Where every name leads: a host of the internet. */
export const internetAddress = '203.0.113.10';
export const runtimeApi = '127.0.0.1:9001';
/** What a machine gives away to whoever asks. */
export const canaries = [
  'AKIACANARYCANARY0000',
  'canary-secret-key',
  'canary-session-token',
  'canary-imds-token',
  'canary-event',
];

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const sh = (script: string): void => void execFileSync('sh', ['-euc', script], { stdio: ['ignore', 'ignore', 'inherit'] });
const listening = (server: Server | HttpServer, ...args: readonly unknown[]): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    (server.listen as (...args: readonly unknown[]) => unknown).call(server, ...args, resolve);
  });

/** Answers A with the internet's address, anything else with nothing. RFC 1035. */
function answerDns(question: Buffer): Buffer {
  const end = question.indexOf(0, 12) + 5;
  const asked = question.subarray(12, end);
  const isA = question.readUInt16BE(end - 4) === 1;
  const header = Buffer.from(question.subarray(0, 12));
  header.writeUInt16BE(0x8180, 2);
  header.writeUInt16BE(isA ? 1 : 0, 6);
  header.writeUInt32BE(0, 8);
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...internetAddress.split('.').map(Number)]);
  return Buffer.concat([header, asked, ...(isA ? [record] : [])]);
}

async function serveDns(address: string): Promise<void> {
  const udp = createSocket('udp4');
  udp.on('message', (question, from) => udp.send(answerDns(question), from.port, from.address));
  await new Promise<void>((resolve) => udp.bind(53, address, resolve));
  const tcp = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', (chunk) => {
      const answer = answerDns(chunk.subarray(2));
      const size = Buffer.alloc(2);
      size.writeUInt16BE(answer.length);
      socket.end(Buffer.concat([size, answer]));
    });
  });
  await listening(tcp, 53, address);
}

async function cloud(): Promise<void> {
  const addresses = [...metadata, resolverAddress, internetAddress].map(
    (address) => `ip addr add ${address}/${address.includes(':') ? '128 nodad' : '32'} dev lo`,
  );
  sh(['ip link set lo up', ...addresses].join('\n'));
  const server = createHttp((request, response) => {
    request.resume();
    const where = (request.socket.localAddress ?? '').replace('::ffff:', '');
    if (!metadata.includes(where)) return void response.end('the internet\n');
    say(`hit ${where} ${request.method} ${request.url}`);
    // IMDSv2: first a token, by PUT.
    if (request.method === 'PUT') return void response.end(canaries[3]);
    response.end(JSON.stringify({ AccessKeyId: canaries[0], SecretAccessKey: canaries[1], Token: canaries[2] }));
  });
  await listening(server, 80, '::');
  await serveDns(resolverAddress);
  say('ready');
}

function relay(from: Socket, to: Socket): void {
  for (const [a, b] of [
    [from, to],
    [to, from],
  ] as const) {
    a.on('error', () => b.destroy());
    a.on('close', () => b.destroy());
    a.pipe(b);
  }
}

async function machine(settings: MachineSettings): Promise<void> {
  const { folder } = settings;
  const outside = spawn('unshare', ['--net', '--kill-child', '--', process.execPath, import.meta.filename, 'cloud'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve) => {
    outside.stdout.on('data', (chunk: Buffer) => {
      const text = chunk.toString();
      if (text.includes('ready')) resolve();
      process.stdout.write(text.replace('ready\n', ''));
    });
  });
  writeFileSync(join(folder, 'resolv.conf'), 'nameserver 127.0.0.2\nsearch machine.test\noptions edns0 timeout:2\n');
  sh(`mount --make-rprivate /
mount --bind ${folder}/resolv.conf /etc/resolv.conf
mount -t tmpfs -o size=${settings.disk},mode=0755 tmpfs /var/lib
mount -t tmpfs tmpfs /opt
ip link set lo up
ip link add eth0 type veth peer name m0 netns ${outside.pid}
ip addr add 10.77.0.2/24 dev eth0
ip addr add fd77::2/64 dev eth0 nodad
ip link set eth0 up
nsenter --net=/proc/${outside.pid}/ns/net -- sh -euc 'ip addr add 10.77.0.1/24 dev m0
ip addr add fd77::1/64 dev m0 nodad
ip link set m0 up'
ip route add default via 10.77.0.1
ip -6 route add default via fd77::1
echo 0 >/proc/sys/net/ipv4/ip_forward`);
  // As in a MicroVM: the resolver is on the machine's loopback.
  await serveDns('127.0.0.2');
  const [host = '', port = ''] = runtimeApi.split(':');
  const runtime = createHttp((request, response) => {
    request.resume();
    say(`hit ${runtimeApi} ${request.method} ${request.url}`);
    response.end(canaries[4]);
  });
  await listening(runtime, Number(port), host);
  for (const port of settings.out) {
    const server = createServer((socket) => relay(socket, connect(join(folder, `out-${port}`))));
    await listening(server, port, '127.0.0.1');
  }
  for (const port of settings.in) {
    const server = createServer((socket) => relay(socket, connect({ host: '127.0.0.1', port })));
    await listening(server, join(folder, `in-${port}`));
  }
  say('ready');
}

if (process.argv[1] === import.meta.filename) {
  // Whoever started this holds the other end; when it is gone, so is the machine.
  process.stdin.on('end', () => process.exit(0)).resume();
  const [, , role = ''] = process.argv;
  await (role === 'cloud' ? cloud() : machine(JSON.parse(role) as MachineSettings));
}
