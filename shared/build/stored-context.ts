// A context that the home keeps, as a build reads it.
import type { Bodies } from '../context/bodies.ts';
import { ContextStore } from '../context/context-store.ts';
import type { Context } from '../context/list.ts';
import { isCode, SlipwayError } from '../errors.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import type { Blobs, Options } from '../store/blobs.ts';
import type { Table } from '../store/table.ts';
import type { ContextSource } from './ports.ts';

/** NOT_FOUND when the project has no such context, CONTEXT when not all of its files were sent. */
export async function storedContext(
  parts: { readonly blobs: Blobs; readonly table: Table },
  project: string,
  id: string,
  signal?: AbortSignal,
): Promise<ContextSource> {
  const options = signal === undefined ? {} : { signal };
  const store = new ContextStore({ ...parts, project });
  if (!isDigest(id)) throw new SlipwayError('NOT_FOUND', `there is no context ${id.slice(0, 100)} in the project ${project}`);
  const list = await store.openList(id, options);
  // Where the bodies are is looked up when a layer is really written: a build that hits all the way needs none.
  let bodies: Promise<Bodies> | undefined;
  return {
    list,
    scope: `project ${project}`,
    async body(entry) {
      bodies ??= openBodies(store, id, list, options);
      return (await bodies).body(entry);
    },
  };
}

async function openBodies(store: ContextStore, id: Digest, list: Context, options: Options): Promise<Bodies> {
  try {
    return await store.bodies(list.entries, options);
  } catch (error) {
    // Who tries again is then asked for what is missing.
    if (isCode(error, 'CONTEXT')) await store.reopenList(id, options);
    throw error;
  }
}
