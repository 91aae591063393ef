import { describe, expect, it } from 'vitest';
import { parseChmod } from '../../shared/build/copy-mode.ts';

describe('chmod', () => {
  it.each<[text: string, file: number, fileAfter: number, directoryAfter: number]>([
    ['755', 0o644, 0o755, 0o755],
    ['0', 0o644, 0, 0],
    ['4711', 0o644, 0o4711, 0o4711],
    ['00000644', 0o777, 0o644, 0o644],
    ['u+x', 0o644, 0o744, 0o744],
    ['+x', 0o644, 0o755, 0o755],
    ['a-w', 0o666, 0o444, 0o444],
    ['go=', 0o4755, 0o4700, 0o4700],
    ['u=rwx,go=rx', 0o600, 0o755, 0o755],
    ['u=rwX,go=rX', 0o600, 0o644, 0o755],
    ['+X', 0o744, 0o755, 0o755],
    ['g=u', 0o640, 0o660, 0o660],
    ['go=u-w', 0o700, 0o755, 0o755],
    ['u+s,g+s', 0o755, 0o6755, 0o6755],
    ['o+s', 0o755, 0o755, 0o755],
    ['+t', 0o755, 0o1755, 0o1755],
    ['=', 0o7777, 0o1000, 0o1000],
    ['u+x-w', 0o644, 0o544, 0o544],
    ['-X', 0o755, 0o644, 0o644],
  ])('%s', (text, before, file, directory) => {
    const change = parseChmod(text);
    expect(change(before, false).toString(8)).toBe(file.toString(8));
    expect(change(before, true).toString(8)).toBe(directory.toString(8));
  });

  it('is refused in docker’s words', () => {
    for (const text of ['', '8', '10000', 'u', 'x', 'u+q', 'u+x,', '-1', '0x1ff', 'u+x g+x']) {
      expect(() => parseChmod(text), text).toThrow(
        expect.objectContaining({ code: 'DOCKERFILE', message: expect.stringContaining('between 0 and 07777') }),
      );
    }
  });
});
