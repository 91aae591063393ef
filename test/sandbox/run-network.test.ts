// The network of commands by itself: what gets through, what does not, and that it goes away. On machines of their own.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nameservers } from '../../shared/sandbox/dns-forwarder.ts';
import { resolvConf } from '../../shared/sandbox/run-network.ts';
import { type Machine, startMachine } from '../support/machine.ts';
import { internetAddress } from '../support/machine-process.ts';
import { busyboxRoot, debianRoot, whyNoRoot } from '../support/roots.ts';
import { fastTemp } from '../support/sandboxed.ts';

const why = whyNoRoot('busybox');
const whyNoDebian = whyNoRoot('debian');
const whyNoRunc = existsSync('/usr/sbin/runc') || existsSync('/usr/bin/runc') || process.env.CI ? undefined : 'needs runc';
const module = (name: string): string => JSON.stringify(join(import.meta.dirname, '../../shared/sandbox', name));

/** Runs a module's text on a machine; `say` is what it answers with. */
async function onMachine(machine: Machine, text: string, env: Readonly<Record<string, string>> = {}): Promise<unknown> {
  const program = `
    import { openRunNetwork } from ${module('run-network.ts')};
    import { execFile } from 'node:child_process';
    import { createServer } from 'node:http';
    const run = (file, ...args) => new Promise((resolve) => {
      execFile(file, args, { timeout: 10_000 }, (error, stdout, stderr) => resolve({ code: error ? error.code ?? error.signal : 0, stdout, stderr }));
    });
    const say = (value) => console.log('SAID ' + JSON.stringify(value));
    ${text}`;
  const child = machine.spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, ...env },
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
  await new Promise((resolve) => child.once('close', resolve));
  const line = said.split('\n').find((one) => one.startsWith('SAID '));
  if (line === undefined) throw new Error(said);
  return JSON.parse(line.slice(5));
}

test.skipIf(why)(
  'names and the internet are in reach, by UDP and by TCP; when it is closed nothing of it is left',
  async () => {
    await using machine = await startMachine({ out: [] });
    const seen = (await onMachine(
      machine,
      `
    const state = async () => [await run('ip', '-o', 'link'), await run('iptables-save')].map(({ stdout }) => stdout.replace(/^#.*$|\\[\\d+:\\d+\\]/gm, ''));
    // As docker leaves a machine.
    await run('iptables', '-w', '-P', 'FORWARD', 'DROP');
    const before = await state();
    // What is left of a program that died is replaced.
    const dying = 'import(process.env.MODULE).then((m) => m.openRunNetwork()).then(() => process.kill(process.pid, "SIGKILL"))';
    await run(process.execPath, '-e', dying);
    const left = await state();
    const network = await openRunNetwork();
    const inside = (...args) => run('nsenter', '--net=' + network.sandbox.path, '--', ...args);
    const answers = {
      udp: await inside('busybox', 'nslookup', '-type=a', 'registry.test', '192.0.2.1'),
      tcp: await inside('perl', '-e', ${JSON.stringify(`
        use IO::Socket::INET;
        my $s = IO::Socket::INET->new(PeerAddr => "192.0.2.1", PeerPort => 53, Timeout => 3) or die;
        my $q = pack("nnnnnn", 7, 0x100, 1, 0, 0, 0) . "\\x01a\\x04test\\x00" . pack("nn", 1, 1);
        print $s pack("n", length $q) . $q;
        $s->flush; read $s, my $n, 2; read $s, my $a, unpack("n", $n);
        print join(".", unpack("C4", substr $a, -4));`)}),
      http: await inside('curl', '-s', '-m', '5', 'http://${internetAddress}/'),
      ping: await inside('curl', '-sS', '-m', '1', 'http://10.77.0.2/'),
    };
    await network[Symbol.asyncDispose]();
    say({ answers, sandbox: network.sandbox, before, left, after: await state() });
    process.exit();`,
      { MODULE: join(import.meta.dirname, '../../shared/sandbox/run-network.ts') },
    )) as {
      readonly answers: Readonly<Record<'udp' | 'tcp' | 'http', { readonly stdout: string }>>;
      readonly sandbox: { readonly resolvConf: string };
      readonly before: readonly string[];
      readonly left: readonly string[];
      readonly after: readonly string[];
    };
    expect(seen.answers.udp.stdout).toContain(internetAddress);
    expect(seen.answers.tcp.stdout).toBe(internetAddress);
    expect(seen.answers.http.stdout).toBe('the internet\n');
    expect(seen.sandbox.resolvConf).toBe('nameserver 192.0.2.1\nsearch machine.test\n');
    expect(seen.left[1]).toContain('SLIPWAY-FORWARD');
    expect(seen.after[0]).toBe(seen.before[0]);
    for (const word of ['SLIPWAY', 'slipway-run', '192.0.2']) expect(seen.after[1]).not.toContain(word);
  },
  60_000,
);

test.skipIf(why || whyNoDebian)(
  'raw packets, a forged sender and abstract sockets lead nowhere either',
  async () => {
    const root = await debianRoot();
    await using machine = await startMachine({ out: [] });
    // A frame straight to the machine's end of the cable, past all routes of the command's own; twice, once as somebody else.
    const raw = `
    use Socket;
    my %mac; open my $f, "<", "/sys/class/net/eth0/address"; chomp(my $own = <$f>);
    sub sum { my $d = shift; my $s = 0; $s += $_ for unpack("n*", $d . (length($d) % 2 ? "\\0" : "")); $s = ($s >> 16) + ($s & 0xffff) while $s >> 16; ~$s & 0xffff }
    socket(my $s, 17, SOCK_RAW, 0) or die "raw: $!";
    for my $from ("192.0.2.2", "10.77.0.2") {
      for my $to ("169.254.169.254", "169.254.170.2", "10.77.0.2", "192.0.2.1") {
        my $tcp = pack("nnNNCCnnn", 4000, $to =~ /^169/ ? 80 : 9000, 1, 0, 0x50, 2, 1024, 0, 0);
        my $pseudo = inet_aton($from) . inet_aton($to) . pack("CCn", 0, 6, length $tcp);
        substr($tcp, 16, 2) = pack("n", sum($pseudo . $tcp));
        my $ip = pack("CCnnnCCn", 0x45, 0, 20 + length $tcp, 1, 0, 64, 6, 0) . inet_aton($from) . inet_aton($to);
        substr($ip, 10, 2) = pack("n", sum($ip));
        my $frame = pack("H12H12n", $ENV{PEER} =~ s/://gr, $own =~ s/://gr, 0x800) . $ip . $tcp;
        my $index = do { open my $i, "<", "/sys/class/net/eth0/ifindex"; <$i> + 0 };
        send($s, $frame, 0, pack("SnlSCCx8", 17, 0x800, $index, 0, 0, 6)) or die "send: $!";
      }
    }
    socket(my $u, AF_UNIX, SOCK_STREAM, 0); print connect($u, pack("S", AF_UNIX) . "\\0slipway-canary") ? "abstract reached\\n" : "abstract refused\\n";
    select undef, undef, undef, 0.5; print "sent\\n";`;
    const seen = (await onMachine(
      machine,
      `
    import { utilLinuxSandbox } from ${module('util-linux.ts')};
    import { createServer as listen } from 'node:net';
    import { mkdirSync } from 'node:fs';
    listen().listen('\\0slipway-canary');
    let reached = 0;
    createServer((_, response) => response.end()).on('connection', () => reached++).listen(9000, '0.0.0.0');
    await using network = await openRunNetwork({ ownPorts: [9000] });
    const sandbox = utilLinuxSandbox({ network: network.sandbox, expendable: true });
    for (const dir of ['/var/lib/u', '/var/lib/w']) mkdirSync(dir);
    const counters = async (chain) => (await run('iptables', '-w', '-nvxL', chain)).stdout;
    let output = '';
    const result = await sandbox.run({
      root: { kind: 'overlay', lowers: [process.env.ROOT], upper: '/var/lib/u', work: '/var/lib/w' },
      args: ['perl', '-e', process.env.RAW],
      env: ['PATH=/usr/bin:/bin', 'PEER=' + /link\\/ether (\\S+)/.exec((await run('ip', '-o', 'link', 'show', 'slipway-run')).stdout)[1]],
      cwd: '/', user: { uid: 0, gid: 0, groups: [] }, network: 'host',
      stdio: { kind: 'pipe', onOutput: (_, chunk) => { output += Buffer.from(chunk); } },
    });
    say({ result, output, reached, forward: await counters('SLIPWAY-FORWARD'), input: await counters('SLIPWAY-IN') });
    setTimeout(() => process.exit(), 100);`,
      { ROOT: root, RAW: raw },
    )) as {
      readonly result: { readonly exitCode: number };
      readonly output: string;
      readonly forward: string;
      readonly input: string;
      readonly reached: number;
    };
    expect(seen).toMatchObject({ result: { exitCode: 0 }, output: 'abstract refused\nsent\n', reached: 0 });
    expect(machine.hits).toEqual([]);
    const dropped = (table: string, rule: RegExp): number =>
      table
        .split('\n')
        .filter((line) => rule.test(line))
        .reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[0]), 0);
    // Both addresses as itself; all of the other sender's that would have been forwarded.
    expect(dropped(seen.forward, /DROP .* 169\.254\.0\.0\/16/)).toBe(2);
    expect(dropped(seen.forward, /DROP .* !192\.0\.2\.2/)).toBeLessThanOrEqual(2);
    expect(dropped(seen.input, /DROP/)).toBeGreaterThanOrEqual(2);
  },
  60_000,
);

test.skipIf(why)(
  'a runner on a machine with no firewall, or with one that holds nothing, runs nothing',
  async () => {
    await using machine = await startMachine({ out: [] });
    const folder = mkdtempSync(join(fastTemp(), 'slw-path-'));
    try {
      const tools = ['sh', 'ip', 'unshare', 'nsenter', 'cat', 'node'];
      for (const tool of tools) {
        const found = execFileSync('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin command -v ${tool}`], { encoding: 'utf8' }).trim();
        symlinkSync(tool === 'node' ? process.execPath : found, join(folder, tool));
      }
      // Says yes to everything and does nothing: what commands could reach is tried, not believed.
      for (const name of ['iptables', 'iptables-legacy', 'iptables-nft'])
        writeFileSync(join(folder, name), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
      const script = (setup: string): string => `
      ${setup}
      createServer((_, response) => response.end()).listen(9000, '0.0.0.0');
      try { await using n = await openRunNetwork({ ownPorts: [9000] }); say({ opened: true }); }
      catch ({ code, message }) { say({ code, message }); }
      process.exit();`;
      expect(await onMachine(machine, script(''), { PATH: folder })).toMatchObject({
        code: 'SANDBOX_UNAVAILABLE',
        message: expect.stringContaining('could still reach 192.0.2.1 port 9000'),
      });
      for (const name of ['iptables', 'iptables-legacy', 'iptables-nft'])
        writeFileSync(join(folder, name), '#!/bin/sh\necho "no such table" >&2\nexit 3\n', { mode: 0o755 });
      expect(await onMachine(machine, script(''), { PATH: folder })).toMatchObject({
        code: 'SANDBOX_UNAVAILABLE',
        message: expect.stringMatching(/no firewall can be set up: iptables: .*no such table.*iptables-nft/s),
      });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
  60_000,
);

test.skipIf(why || whyNoRunc)(
  'with runc a command is in the same network',
  async () => {
    await using machine = await startMachine({ out: [] });
    const seen = (await onMachine(
      machine,
      `
    import { ociSandbox } from ${module('oci-runtime.ts')};
    import { mkdirSync } from 'node:fs';
    await using network = await openRunNetwork();
    for (const dir of ['/var/lib/u', '/var/lib/w']) mkdirSync(dir);
    let output = '';
    const result = await ociSandbox('runc', { network: network.sandbox }).run({
      root: { kind: 'overlay', lowers: [process.env.ROOT], upper: '/var/lib/u', work: '/var/lib/w' },
      args: ['sh', '-c', 'ip -4 -o addr show eth0; cat /etc/resolv.conf; nslookup -type=a packages.test'],
      env: ['PATH=/usr/bin:/bin'],
      cwd: '/', user: { uid: 0, gid: 0, groups: [] }, network: 'host',
      stdio: { kind: 'pipe', onOutput: (_, chunk) => { output += Buffer.from(chunk); } },
    });
    say({ result, output });
    setTimeout(() => process.exit(), 100);`,
      { ROOT: await busyboxRoot() },
    )) as { readonly result: unknown; readonly output: string };
    expect(seen.result).toEqual({ exitCode: 0 });
    for (const word of ['192.0.2.2/30', 'nameserver 192.0.2.1', internetAddress]) expect(seen.output).toContain(word);
  },
  60_000,
);

test('a command is told of one resolver, and of what else the machine’s resolv.conf says', () => {
  const machine = 'nameserver 127.0.0.53\nnameserver fd00::1\nsearch corp.test\noptions edns0 trust-ad\noptions ndots:2\n';
  expect(resolvConf(machine)).toBe('nameserver 192.0.2.1\nsearch corp.test\noptions ndots:2\n');
  expect(nameservers(machine)).toEqual(['127.0.0.53', 'fd00::1']);
  expect(nameservers('nameserver fe80::1%eth0\nnameserver not-an-address\n')).toEqual(['fe80::1']);
  expect(nameservers('')).toEqual(['127.0.0.1']);
});
