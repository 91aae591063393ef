// COPY and ADD: from lists to a layer. The key is over what is matched; nothing of the parent is unpacked or downloaded (N03).
import { SlipwayError } from '../errors.ts';
import type { Entry } from '../layer/entry.ts';
import { canonicalJson } from '../oci/encode.ts';
import { treeWithAccounts } from './accounts.ts';
import { contentDigest, contentParts, type Match, type MatchOptions, matchSources } from './copy-match.ts';
import { isNumeric } from './copy-owner.ts';
import { copyTarget } from './copy-target.ts';
import type { Prepared, StepInput } from './executor.ts';
import type { MadeLayer } from './ports.ts';
import type { StageImage } from './stage-image.ts';

/** Bytes of files from which on it pays to note a layer for the next time and to look for the last one: compressing less is quicker. */
const worthReuse = 4 * 1024 * 1024;

export async function prepareCopy(given: StepInput<'copy'>): Promise<Prepared> {
  const { operation } = given;
  const { from } = operation;
  if (from.kind !== 'context') return fromImage(given, from.kind === 'stage' ? from.stage : from.digest);
  const inlineOnly = operation.sources.length === 0;
  if (given.ports.context === undefined && !inlineOnly) {
    throw new SlipwayError('CONTEXT', 'this build has no context to copy from', { hint: 'give the folder: slipway build PATH' });
  }
  const source = inlineOnly ? undefined : await given.ports.context?.();
  const { emptySource } = await import('./copy-source.ts');
  const { list, body, scope } = source ?? emptySource;
  const options: MatchOptions = { ignoredBy: (path) => list.ignoredBy(path) };
  return prepared(given, matchSources(operation, list, options), scope, async (layer) => layer((entry) => body(entry)));
}

async function fromImage(given: StepInput<'copy'>, source: number | string): Promise<Prepared> {
  const { operation, input, ports } = given;
  const image = input.sources.get(source) as StageImage;
  const tree = await ports.layers.tree(image.layers, ports.signal);
  const matches = matchSources(operation, tree);
  return prepared(given, matches, `from ${typeof source === 'number' ? source : 'image'}`, async (layer) => {
    const wanted = matches.flatMap((match) => match.entries).filter((entry) => entry.size > 0);
    return ports.layers.withBodies(image.layers, tree, wanted, layer, ports.signal);
  });
}

type WithBodies = (
  layer: (
    body: (entry: Entry) => ReturnType<NonNullable<Parameters<typeof import('./copy-entries.ts').copyEntries>[2]['bodyOf']>>,
  ) => Promise<MadeLayer>,
) => Promise<MadeLayer>;

function prepared(
  { operation, step, image, input, ports, stored }: StepInput<'copy'>,
  matches: readonly Match[],
  scope: string,
  withBodies: WithBodies,
): Prepared {
  const { chown, link } = operation;
  const target = copyTarget(operation);
  // Names in --chown are looked up in the image that is copied into: it then counts whole, --link or not.
  const independent = link === true && (chown === undefined || isNumeric(chown));
  return {
    key: { kind: 'copy', ...target, content: contentDigest(contentParts(matches, operation)) },
    ...(independent ? { parent: '' as const } : {}),
    async make() {
      const { epoch } = input.plan;
      const { signal } = ports;
      const { copyEntries } = await import('./copy-entries.ts');
      const parent = await treeWithAccounts(chown, { image, ports, stored });
      // Only archives that are unpacked need a place for their members.
      await using scratch = operation.unpack ? await ports.scratch() : undefined;
      const slot = { scope, instruction: canonicalJson({ ...target, display: step.display }) };
      const large = matches.flatMap((match) => match.entries).reduce((sum, entry) => sum + entry.size, 0) >= worthReuse;
      const like = ports.noCache || !large ? undefined : await ports.cache.previous(slot);
      const made = await withBodies(async (bodyOf) => {
        const entries = await copyEntries(matches, target, {
          parent,
          bodyOf,
          time: epoch ?? 0,
          scratch: scratch?.path ?? '',
          signal,
        });
        return ports.layers.write(entries, like, { signal, ...(epoch === undefined ? {} : { epoch }) });
      });
      if (!large) return made;
      const noted = made.stored.then(() => ports.cache.remember(slot, made.layer.diffId));
      noted.catch(() => undefined);
      return { ...made, stored: noted };
    },
  };
}
