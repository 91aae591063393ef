// ChainIDs of OCI config.md "Layer ChainID": the identity of a stack of layers, from the digests of their uncompressed bytes.
import { type Digest, sha256 } from './digest.ts';

/** The chainID over one more layer; '' is the empty stack. */
export const chainId = (parent: Digest | '', diffId: Digest): Digest => (parent === '' ? diffId : sha256(`${parent} ${diffId}`));

/** The chainID of every prefix of the stack, bottom first: as many as there are diffIDs. */
export function chainIds(diffIds: readonly Digest[]): readonly Digest[] {
  const ids: Digest[] = [];
  let parent: Digest | '' = '';
  for (const diffId of diffIds) {
    parent = chainId(parent, diffId);
    ids.push(parent);
  }
  return ids;
}
