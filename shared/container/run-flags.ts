// The values of `slipway run`'s flags, read as docker reads them. Pure but for the folder that relative paths start from.
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { SlipwayError } from '../errors.ts';
import type { SandboxMount } from '../sandbox/sandbox.ts';

const usage = (message: string, hint?: string): SlipwayError =>
  new SlipwayError('RUN_ENGINE', message, hint === undefined ? {} : { hint });

/** `-v SRC:DST[:ro|rw]`. SRC is a path; there are no named volumes. */
export function bindMount(text: string, cwd: string): SandboxMount & { readonly kind: 'bind' } {
  const [source = '', target, mode = 'rw', ...more] = text.split(':');
  if (target === undefined || more.length > 0) {
    throw usage(
      `invalid volume: ${text}`,
      'Write SRC:DST or SRC:DST:ro. What is only in the container needs no -v: use --tmpfs for memory.',
    );
  }
  if (source === '~' || source.startsWith('~/')) {
    throw usage(`invalid volume ${text}: ~ is your folder to the shell alone, and not before a colon`, 'Write "$HOME" instead.');
  }
  if (!/^(\/|\.{1,2}(\/|$))/.test(source)) {
    throw usage(
      `invalid volume ${text}: there are no named volumes`,
      `Give a path: /path/to/${source || 'folder'} or ./${source || 'folder'}.`,
    );
  }
  if (mode !== 'ro' && mode !== 'rw') throw usage(`invalid volume ${text}: unknown mode ${mode}`, 'ro and rw are known.');
  return { kind: 'bind', source: resolve(cwd, source), target: absoluteTarget(target, text), readonly: mode === 'ro' };
}

/** `--tmpfs DST[:size=64m,mode=1777]`. */
export function tmpfsMount(text: string): SandboxMount & { readonly kind: 'tmpfs' } {
  const [target = '', options = ''] = text.split(':', 2);
  let [size, mode]: [number | undefined, number | undefined] = [undefined, undefined];
  for (const option of options.split(',')) {
    const [name, value = ''] = option.split('=', 2);
    if (option === '') continue;
    if (name === 'size' && /^\d+[kmg]?$/i.test(value)) size = bytes(value);
    else if (name === 'mode' && /^[0-7]{3,4}$/.test(value)) mode = Number.parseInt(value, 8);
    else if (!['rw', 'nosuid', 'nodev'].includes(option))
      throw usage(`invalid tmpfs option ${option}`, 'size=BYTES[k|m|g] and mode=OCTAL are known.');
  }
  return {
    kind: 'tmpfs',
    target: absoluteTarget(target, text),
    ...(size !== undefined && { size }),
    ...(mode !== undefined && { mode }),
  };
}

function bytes(text: string): number {
  const unit = { k: 1024, m: 1024 ** 2, g: 1024 ** 3 }[text.at(-1)!.toLowerCase()];
  return Number.parseInt(text, 10) * (unit ?? 1);
}

function absoluteTarget(target: string, text: string): string {
  const path = target.replace(/\/+$/, '');
  if (!target.startsWith('/') || path === '')
    throw usage(`invalid mount ${text}: the path in the container must be absolute and not /`);
  return path;
}

/** `--add-host NAME:ADDRESS` (or `=`). */
export function hostEntry(text: string): readonly [string, string] {
  const match = /^([^:=]+)[:=](.+)$/.exec(text);
  if (!match) throw usage(`bad format for add-host: ${text}`, 'Write NAME:ADDRESS.');
  const address = match[2]!.replace(/^\[(.*)\]$/, '$1');
  if (address === 'host-gateway') return [match[1]!, '127.0.0.1'];
  if (isIP(address) === 0) throw usage(`invalid IP address in add-host: ${JSON.stringify(address)}`, 'Write NAME:ADDRESS.');
  return [match[1]!, address];
}

export function networkMode(text: string | undefined): 'host' | 'none' {
  if (text === undefined || text === 'host') return 'host';
  if (text === 'none') return 'none';
  throw usage(
    `network ${text} is not supported`,
    "host (the default: the container uses the machine's network, its ports are there directly) and none are.",
  );
}
