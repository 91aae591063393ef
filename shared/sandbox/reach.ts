// Whether a network namespace can reach a place, tried and not concluded: a process that enters it and connects.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { SlipwayError } from '../errors.ts';

export interface Place {
  readonly host: string;
  readonly port: number;
}

/** A refusal is an answer, too: something was reached. Silence is none. */
const program = `
const { connect } = require('node:net');
const places = JSON.parse(process.env.PLACES);
Promise.all(places.map(({ host, port }) => new Promise((resolve) => {
  const socket = connect({ host, port });
  const end = (reached) => { socket.destroy(); clearTimeout(late); resolve(reached ? [host + ' port ' + port] : []); };
  const late = setTimeout(end, 300, false);
  socket.once('connect', () => end(true));
  socket.once('error', (error) => end(error.code === 'ECONNREFUSED' && !host.startsWith('127.')));
}))).then((reached) => require('node:fs').writeSync(1, JSON.stringify(reached.flat())));
`;

/**
 * Those of `places` that answer somebody in the namespace at `path`, in words.
 * @throws SANDBOX_UNAVAILABLE when that cannot be found out
 */
export async function reachable(path: string, places: readonly Place[], signal?: AbortSignal): Promise<readonly string[]> {
  try {
    const { stdout } = await promisify(execFile)('nsenter', [`--net=${path}`, '--', process.execPath, '-e', program], {
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin', PLACES: JSON.stringify(places) },
      ...(signal === undefined ? {} : { signal }),
    });
    return JSON.parse(stdout) as string[];
  } catch (cause) {
    throw new SlipwayError('SANDBOX_UNAVAILABLE', `the network of commands cannot be tried: ${String(cause)}`, { cause });
  }
}
