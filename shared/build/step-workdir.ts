// WORKDIR: makes the directories that are missing, always as a layer (BuildKit does so, F43), with nothing of the parent unpacked.
import { resolveUser } from '../container/user.ts';
import type { EntryWithBody } from '../layer/entry.ts';
import { MergedTree } from '../layer/merged.ts';
import { missingDirectories } from './copy-entries.ts';
import type { Prepared, StepInput } from './executor.ts';

export function prepareWorkdir({ operation, image, input, ports }: StepInput<'workdir'>): Prepared {
  return {
    key: { kind: 'workdir', path: operation.path, ...(operation.user === undefined ? {} : { user: operation.user }) },
    async make() {
      void resolveUser;
      const tree = new MergedTree(await Promise.all(image.layers.map((layer) => ports.layers.toc(layer))));
      const { epoch } = input.plan;
      const entries: EntryWithBody[] = missingDirectories(tree, operation.path, { uid: 0, gid: 0, mtime: epoch ?? 0 });
      return ports.layers.write(entries, undefined, { signal: ports.signal, ...(epoch === undefined ? {} : { epoch }) });
    },
  };
}
