// A sandbox that executes nothing: each RUN is a script of a few words, written straight into the step's `upper`. For tests of what is
// around a RUN, without root and in no time.
//
//   write /path text...   a file          chmod 755 /path       remove /path   a whiteout is not made: only what this step wrote
//   print text...         to stdout       warn text...          to stderr
//   env NAME /path        the variable's value, as a file
//   say NAME              tells the test, and others, that it got here
//   wait NAME             until another step said NAME
//   hang                  until it is stopped
//   exit N
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SlipwayError, throwIfCancelled } from '../../shared/errors.ts';
import type { RunOptions, RunSpec, Sandbox } from '../../shared/sandbox/sandbox.ts';

export interface ScriptedSandbox extends Sandbox {
  /** Commands in the order in which they started. */
  readonly ran: string[];
  readonly specs: RunSpec[];
  /** Resolves when a script says NAME. */
  said(name: string): Promise<void>;
  /** Lets scripts go on that wait for NAME. */
  release(name: string): void;
}

export function scriptedSandbox(): ScriptedSandbox {
  const ran: string[] = [];
  const specs: RunSpec[] = [];
  const gates = new Map<string, PromiseWithResolvers<void>>();
  const gate = (name: string): PromiseWithResolvers<void> => {
    const found = gates.get(name) ?? Promise.withResolvers<void>();
    gates.set(name, found);
    return found;
  };
  const stopped = (signal: AbortSignal | undefined): Promise<never> =>
    new Promise((_, reject) => {
      const stop = () => reject(new SlipwayError('CANCELLED', 'cancelled'));
      if (signal?.aborted) stop();
      signal?.addEventListener('abort', stop, { once: true });
    });
  const line = async (words: readonly string[], spec: RunSpec, { signal }: RunOptions): Promise<number | undefined> => {
    const [verb, first = '', ...rest] = words;
    const upper = spec.root.kind === 'overlay' ? spec.root.upper : spec.root.path;
    const write = (path: string, text: string) => {
      mkdirSync(dirname(join(upper, path)), { recursive: true });
      writeFileSync(join(upper, path), text);
    };
    const print = async (stream: 'stdout' | 'stderr') => {
      if (spec.stdio.kind === 'pipe') await spec.stdio.onOutput(stream, Buffer.from(`${[first, ...rest].join(' ')}\n`));
    };
    switch (verb) {
      case 'write':
        write(first, rest.join(' '));
        return;
      case 'chmod':
        chmodSync(join(upper, rest[0] as string), Number.parseInt(first, 8));
        return;
      case 'remove':
        rmSync(join(upper, first), { recursive: true });
        return;
      case 'env':
        write(rest[0] as string, spec.env.find((pair) => pair.startsWith(`${first}=`)) ?? `${first} is not set`);
        return;
      case 'print':
        return void (await print('stdout'));
      case 'warn':
        return void (await print('stderr'));
      case 'say':
        gate(first).resolve();
        return;
      case 'wait':
        return void (await Promise.race([gate(first).promise, stopped(signal)]));
      case 'hang':
        return stopped(signal);
      case 'exit':
        return Number(first);
      default:
        throw new Error(`not a word of the scripted sandbox: ${verb}`);
    }
  };
  return {
    name: 'scripted',
    ran,
    specs,
    said: (name) => gate(name).promise,
    release: (name) => gate(name).resolve(),
    async run(spec, options = {}) {
      throwIfCancelled(options.signal);
      // As overlayfs answers: ELOOP.
      if (spec.root.kind === 'overlay' && new Set(spec.root.lowers).size < spec.root.lowers.length)
        throw new SlipwayError('SANDBOX', 'a directory is in the overlay twice');
      const text = spec.args.at(-1) as string;
      ran.push(text);
      specs.push(spec);
      for (const one of text.split(/;|&&|\n/)) {
        const words = one.trim().split(/\s+/);
        const code = words[0] === '' ? undefined : await line(words, spec, options);
        if (code !== undefined) return { exitCode: code };
      }
      return { exitCode: 0 };
    },
  };
}
