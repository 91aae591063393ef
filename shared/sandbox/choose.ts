// Which sandbox: SLIPWAY_SANDBOX, else util-linux.
import { SlipwayError } from '../errors.ts';
import type { SandboxOptions } from './machine.ts';
import type { Sandbox } from './sandbox.ts';

export async function chooseSandbox(
  env: Readonly<Record<string, string | undefined>>,
  options: SandboxOptions = {},
): Promise<Sandbox> {
  const name = env.SLIPWAY_SANDBOX || 'util-linux';
  if (name === 'util-linux') return (await import('./util-linux.ts')).utilLinuxSandbox(options);
  if (name === 'runc' || name === 'crun') return (await import('./oci-runtime.ts')).ociSandbox(name, options);
  throw new SlipwayError('USAGE', `SLIPWAY_SANDBOX is ${name}; util-linux, runc and crun are known`);
}
