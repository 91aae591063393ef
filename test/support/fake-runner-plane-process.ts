// Machines for RUN as a process of their own, for deploy:local: node fake-runner-plane-process.ts PORT REACHABLE_PORT...
import { startFakeRunnerPlane } from './fake-runner-plane.ts';

const [port, ...out] = process.argv.slice(2).map(Number);
if (port === undefined || [port, ...out].some((one) => !Number.isInteger(one))) {
  throw new Error('usage: fake-runner-plane-process.ts PORT REACHABLE_PORT...');
}
const plane = await startFakeRunnerPlane({ port, out });
console.log(plane.url);
// The machines go with it.
process.once('SIGTERM', () => void plane[Symbol.asyncDispose]().then(() => process.exit(0)));
