// `--change` of import and commit: Dockerfile instructions that only edit the config, read and expanded by the parser of the builds.
import { applyEdit } from '../build/config-edit.ts';
import { planBuild } from '../build/planner.ts';
import { problemOf } from '../dockerfile/failure.ts';
import { parseDockerfile, type Stage } from '../dockerfile/parse.ts';
import { SlipwayError } from '../errors.ts';
import type { ImageConfig } from '../oci/config.ts';

/** What docker takes for `import` (F35). */
export const importChanges = [
  'CMD',
  'ENTRYPOINT',
  'ENV',
  'EXPOSE',
  'HEALTHCHECK',
  'LABEL',
  'ONBUILD',
  'STOPSIGNAL',
  'USER',
  'VOLUME',
  'WORKDIR',
] as const;

/**
 * The config after the changes, one instruction each (a line of several is several).
 * @throws USAGE for instructions that are not `allowed`; DOCKERFILE, naming the change, for what cannot be parsed
 */
export async function applyChanges(
  config: ImageConfig,
  changes: readonly string[],
  allowed: readonly string[],
): Promise<ImageConfig> {
  if (changes.length === 0) return config;
  const name = '--change';
  const text = changes.join('\n');
  const stages = stagesOf(name, changes);
  if (stages.length > 1) throw notAllowed('FROM', allowed);
  for (const { instructions } of stages) {
    for (const { keyword } of instructions) {
      if (!allowed.includes(keyword.toUpperCase())) throw notAllowed(keyword, allowed);
    }
  }
  const base = config.config ?? {};
  // The environment and the folder that later instructions build on.
  const before = [
    ...(base.Env ?? []).map((entry) => `ENV ${quoted(entry)}`),
    ...(base.WorkingDir ? [`WORKDIR ${base.WorkingDir}`] : []),
  ];
  const { os, architecture, variant } = config;
  const planned = planBuild(
    {
      dockerfile: { name, text: `FROM scratch\n${[...before, text].join('\n')}\n` },
      buildArgs: {},
      platform: { os, architecture, ...(variant && { variant }) },
      hasContext: false,
    },
    { resolveImage: () => Promise.reject(new SlipwayError('USAGE', 'a change cannot name another image')) },
  );
  const plan = await planned.catch((error: unknown) => {
    throw inChange(error, changes, 1 + before.length);
  });
  const steps = plan.stages.at(-1)!.steps;
  return steps.reduce((edited, { operation }) => {
    if (operation.kind === 'config') return applyEdit(edited, operation.edit);
    if (operation.kind === 'workdir') return applyEdit(edited, { set: { WorkingDir: operation.path } });
    throw notAllowed(operation.kind.toUpperCase(), allowed);
  }, config);
}

function stagesOf(name: string, changes: readonly string[]): readonly Stage[] {
  try {
    return parseDockerfile(name, `FROM scratch\n${changes.join('\n')}\n`).stages;
  } catch (error) {
    throw inChange(error, changes, 1);
  }
}

/** The change in place of its line, which is of a Dockerfile that nobody has seen; `before` lines come first there. */
function inChange(error: unknown, changes: readonly string[], before: number): unknown {
  if (!(error instanceof SlipwayError) || error.where === undefined) return error;
  let left = error.where.start.line - before;
  const change = changes.find((one) => {
    left -= one.split('\n').length;
    return left <= 0;
  });
  return new SlipwayError(error.code, `--change ${JSON.stringify((change ?? '').slice(0, 200))}: ${problemOf(error)}`, {
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    cause: error,
  });
}

const quoted = (entry: string): string => {
  const equals = entry.indexOf('=');
  return `${entry.slice(0, equals)}="${entry.slice(equals + 1).replace(/[\\"$]/g, '\\$&')}"`;
};

const notAllowed = (keyword: string, allowed: readonly string[]): SlipwayError =>
  new SlipwayError('USAGE', `${keyword.toUpperCase()} is not a valid change command`, {
    hint: `Changes may be ${allowed.join(', ')}.`,
  });
