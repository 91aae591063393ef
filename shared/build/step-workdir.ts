// WORKDIR: makes the directories that are missing, always as a layer (BuildKit does so, F43), with nothing of the parent unpacked.
import { treeWithAccounts } from './accounts.ts';
import { directoryEntries } from './copy-entries.ts';
import { resolveOwner } from './copy-owner.ts';
import type { Prepared, StepInput } from './executor.ts';

export function prepareWorkdir({ operation, image, input, ports, stored }: StepInput<'workdir'>): Prepared {
  const { path, user } = operation;
  return {
    key: { kind: 'workdir', path, ...(user === undefined ? {} : { user }) },
    async make() {
      const parent = await treeWithAccounts(user, { image, ports, stored });
      const { epoch } = input.plan;
      const owner = user === undefined ? { uid: 0, gid: 0 } : resolveOwner(user, parent.content, `USER ${user}`);
      const entries = await directoryEntries(path, { parent, owner, time: epoch ?? 0 });
      return ports.layers.write(entries, undefined, { signal: ports.signal, ...(epoch === undefined ? {} : { epoch }) });
    },
  };
}
