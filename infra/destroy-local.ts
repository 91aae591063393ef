// npm run destroy:local: takes down what deploy:local put up. A MiniStack of its own ends with all it holds; from a local AWS of
// somebody else's only the stack is removed.
import { forgetState, localFolder, readState, stop } from './local-processes.ts';
import { destroyLocalStack } from './local-stack.ts';

const state = readState();
if (state === undefined) {
  process.stdout.write('nothing is deployed from here\n');
} else {
  for (const one of [state.proxy, state.runners]) if (one !== undefined) await stop(one);
  if (state.aws !== undefined) await stop(state.aws);
  else await destroyLocalStack({ endpoint: state.endpoint, url: state.url, folder: localFolder });
  forgetState();
  process.stdout.write('removed\n');
}
