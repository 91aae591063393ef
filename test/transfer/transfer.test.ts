import { expect, it } from 'vitest';
import { transferOf } from '../../shared/transfer/transfer.ts';

it.each(['scratch', 'scratch:1', 'docker.io/library/scratch'])(
  'no registry is asked for %s, which is the name of no image',
  (reference) => {
    for (const verb of ['pull', 'push'] as const) {
      expect(() => transferOf(verb, { reference })).toThrow(
        expect.objectContaining({ code: 'INVALID_REFERENCE', message: "'scratch' is a reserved name" }),
      );
    }
    expect(transferOf('pull', { reference: `localhost:5000/${reference.split('/').at(-1)}` }).verb).toBe('pull');
  },
);
