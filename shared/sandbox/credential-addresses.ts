// Where clouds hand out credentials to whoever asks from the machine. A runner has none to give away that matter (a role for logs at
// most), and still no command of a build is to get them: the addresses are made unreachable before the first job.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { SlipwayError } from '../errors.ts';

/** Instance metadata, container credentials (ECS and CodeBuild, EKS), and the IPv6 forms. Not 169.254.169.253: that is the resolver. */
export const credentialAddresses = [
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  'fd00:ec2::254',
  'fd00:ec2::23',
] as const;

export type Execute = (file: string, args: readonly string[]) => Promise<void>;

const execute: Execute = async (file, args) => void (await promisify(execFile)(file, [...args]));

/**
 * Makes them unreachable from this network namespace, for good. Needs root and `ip` (iproute2).
 * @throws SANDBOX_UNAVAILABLE when that cannot be done: then nothing must be run here
 */
export async function closeCredentialAddresses(run: Execute = execute): Promise<void> {
  for (const address of credentialAddresses) {
    const v6 = address.includes(':');
    try {
      await run('ip', [...(v6 ? ['-6'] : []), 'route', 'replace', 'unreachable', `${address}/${v6 ? 128 : 32}`]);
    } catch (cause) {
      // A machine without IPv6 reaches nothing by it.
      if (v6) continue;
      throw new SlipwayError('SANDBOX_UNAVAILABLE', `the credential address ${address} cannot be closed on this machine`, {
        cause,
        hint: 'The runner needs root, CAP_NET_ADMIN and iproute2.',
      });
    }
  }
}
