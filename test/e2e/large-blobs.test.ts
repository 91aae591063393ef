// The disk's store moves 2 GiB in the memory that a small blob takes. Kept from the contract tests for its time alone.
import { diskUnderTest } from '../contract/disk-under-test.ts';
import { memorySuite } from '../contract/memory-suite.ts';

const GiB = 1 << 30;
const large = 2 * GiB;

memorySuite('DiskBlobs', () => diskUnderTest(2 * large), { large, medium: GiB / 2 });
