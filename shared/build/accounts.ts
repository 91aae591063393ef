// The passwd and group files of an image. The tables of contents keep those that lie at /etc/passwd and /etc/group themselves; where these
// are links to files with other names, or very large, the layers are read.
import { SlipwayError } from '../errors.ts';
import type { Entry } from '../layer/entry.ts';
import type { Layer } from '../layer/layer.ts';
import type { MergedTree } from '../layer/merged.ts';
import type { DestinationTree } from './copy-destination.ts';
import { isNumeric, type ReadAccounts } from './copy-owner.ts';
import type { StepInput } from './executor.ts';
import type { LayerStore } from './ports.ts';

/** Bytes of one that are read at most. */
const largest = 64 * 1024 * 1024;

/** Hard links to hard links that are followed. */
const maxHops = 40;

export interface AccountsOptions {
  readonly signal: AbortSignal;
  /** Waited for before a layer is read: it may be on its way into the store. */
  readonly stored?: () => Promise<void>;
}

/**
 * `tree` is that of `chain`. Layers are read only where the tables of contents do not have the files. TOO_LARGE for one that cannot be a
 * list of accounts.
 */
export async function readAccounts(
  layers: Pick<LayerStore, 'withBodies'>,
  chain: readonly Layer[],
  tree: MergedTree,
  { signal, stored }: AccountsOptions,
): Promise<ReadAccounts> {
  const contents = new Map<string, Uint8Array>();
  const missing = new Map<string, Entry>();
  for (const name of ['etc/passwd', 'etc/group'] as const) {
    const file = fileAt(tree, tree.resolve(name));
    if (file === undefined) continue;
    const kept = file.size === 0 ? new Uint8Array(0) : tree.content(file.path);
    if (kept !== undefined) contents.set(name, kept);
    else if (file.size <= largest) missing.set(name, file);
    else throw new SlipwayError('TOO_LARGE', `the image's /${name} has ${file.size} bytes, and ${largest} is the most`);
  }
  if (missing.size > 0) {
    await stored?.();
    const { openBody } = await import('../tar/write.ts');
    await layers.withBodies(
      chain,
      tree,
      [...missing.values()],
      async (bodyOf) => {
        for (const [name, file] of missing) {
          const chunks: Uint8Array[] = [];
          for await (const chunk of await openBody(bodyOf(file), file.size, signal)) chunks.push(chunk);
          contents.set(name, Buffer.concat(chunks));
        }
      },
      signal,
    );
  }
  return (path) => contents.get(path);
}

/** The tree that a step copies into, with the accounts at hand if `owner` (`user`, `user:group`) names some. */
export async function treeWithAccounts(
  owner: string | undefined,
  { image, ports, stored }: Pick<StepInput<'copy' | 'fetch' | 'workdir'>, 'image' | 'ports' | 'stored'>,
): Promise<DestinationTree> {
  const tree = await ports.layers.tree(image.layers, ports.signal);
  if (owner === undefined || isNumeric(owner)) return tree;
  const content = await readAccounts(ports.layers, image.layers, tree, { signal: ports.signal, stored });
  return { get: (path) => tree.get(path), content };
}

/** The file itself, also when the path is one more name of it; nothing for what is no file. */
function fileAt(tree: MergedTree, path: string): Entry | undefined {
  let entry = tree.get(path);
  for (let hops = 0; hops < maxHops && entry?.type === 'hardlink'; hops++) entry = tree.get(entry.link ?? '');
  return entry?.type === 'file' ? entry : undefined;
}
