// The signals STOPSIGNAL may name: Linux on amd64 and arm64.
const names =
  'HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS';

const known: ReadonlySet<string> = new Set([...names.split(' '), 'IOT', 'CLD', 'POLL', 'UNUSED', 'RTMIN', 'RTMAX']);

/** A name with or without SIG, in any case, or a number from 1 on. */
export function isSignal(text: string): boolean {
  if (/^[+-]?\d+$/.test(text)) return Number(text) > 0 && Number(text) <= 64;
  const name = text.toUpperCase().replace(/^SIG/, '');
  if (known.has(name)) return true;
  const realtime = /^RT(?:MIN\+|MAX-)(\d{1,2})$/.exec(name);
  if (realtime === null) return false;
  const offset = Number(realtime[1]);
  return offset >= 1 && offset <= (name.startsWith('RTMIN') ? 15 : 14);
}

export const signalNames: readonly string[] = names.split(' ').map((name) => `SIG${name}`);
