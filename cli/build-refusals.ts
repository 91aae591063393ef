// What docker's build has and ours has not.
import { SlipwayError } from '../shared/errors.ts';
import type { OptionSpec } from './command.ts';

/** Docker's flags that Slipway does not have yet: named, with what to do instead, rather than "unknown flag". */
const notYet: Readonly<Record<string, string>> = {
  secret: 'build secrets are not supported yet',
  ssh: 'SSH forwarding is not supported yet',
  output: 'only images are built; use `slipway save` to write one to a file',
  'cache-from': 'the cache of the home is used without being named; import from elsewhere is not supported yet',
  'cache-to': 'the cache is kept in the home; export is not supported yet',
  'build-context': 'named contexts are not supported yet; COPY --from=IMAGE reads another image',
  'add-host': 'extra hosts are not supported yet',
  attest: 'attestations are not supported yet',
  provenance: 'attestations are not supported yet',
  sbom: 'attestations are not supported yet',
  check: 'linting without a build is not supported yet; warnings are shown at the end of a build',
  allow: 'RUN has no privileges to ask for',
  annotation: 'annotations are not supported yet; LABEL and --label set metadata',
  'cgroup-parent': 'there are no limits on RUN yet',
  memory: 'there are no limits on RUN yet; systemd-run --scope -p MemoryMax=... slipway build ... sets one',
  'shm-size': '/dev/shm of a RUN has 64 MB, as docker’s default',
  ulimit: 'there are no limits on RUN yet',
  squash: 'layers are kept; use a later stage with COPY --from to leave things out',
};

export const unsupported: Readonly<Record<string, OptionSpec>> = Object.fromEntries(
  Object.keys(notYet).map((name) => [
    name,
    name === 'check' || name === 'squash'
      ? { type: 'boolean', hidden: true, help: '' }
      : { type: 'string', multiple: true, hidden: true, help: '', ...(name === 'output' ? { short: 'o' } : {}) },
  ]),
);

/** Given, and not to say no: an image for Lambda is built with `--provenance=false` everywhere, and that is what is done here anyway. */
function wanted(name: string, given: unknown): boolean {
  const refusal = name === 'provenance' || name === 'sbom' ? 'false' : undefined;
  return given === true || (Array.isArray(given) && given.some((value) => value !== refusal));
}

/** UNSUPPORTED for the first of them that was given. */
export function refuseUnsupported(options: Readonly<Record<string, unknown>>): void {
  for (const [name, why] of Object.entries(notYet)) {
    if (wanted(name, options[name])) throw new SlipwayError('UNSUPPORTED', `--${name}: ${why}`);
  }
}
