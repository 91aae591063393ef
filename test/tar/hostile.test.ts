import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isCode } from '../../shared/errors.ts';
import type { Entry } from '../../shared/layer/entry.ts';
import { decompress } from '../../shared/stream/decompress.ts';
import { encodeHeader } from '../../shared/tar/encode.ts';
import { readTar } from '../../shared/tar/read.ts';

const plain: Entry = { path: 'a', type: 'file', mode: 0o644, uid: 0, gid: 0, size: 0, mtime: 0 };

/** A header with fields overwritten and the checksum made right again. */
function forged(changes: Readonly<Record<number, string | Uint8Array>>, entry: Entry = plain): Buffer {
  const block = Buffer.from(encodeHeader(entry));
  for (const [offset, value] of Object.entries(changes)) Buffer.from(value as string, 'latin1').copy(block, Number(offset));
  let sum = 8 * 32;
  for (let at = 0; at < 512; at++) if (at < 148 || at >= 156) sum += block[at]!;
  block.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, 148, 'latin1');
  return block;
}
const named = (name: string, changes: Readonly<Record<number, string | Uint8Array>> = {}) =>
  forged({ 0: `${name}\u0000`, ...changes });
const end = Buffer.alloc(1024);
const special = (typeflag: string, content: string | Uint8Array) => {
  const bytes = Buffer.from(content as string);
  return Buffer.concat([
    forged({ 124: `${bytes.length.toString(8).padStart(11, '0')}\u0000`, 156: typeflag }),
    bytes,
    Buffer.alloc((512 - (bytes.length % 512)) % 512),
  ]);
};
const record = (keyword: string, value: string) => {
  const rest = ` ${keyword}=${value}\n`;
  let length = Buffer.byteLength(rest) + 1;
  while (String(length).length + Buffer.byteLength(rest) !== length) length++;
  return `${length}${rest}`;
};

async function read(bytes: Uint8Array, options = {}) {
  const entries: Entry[] = [];
  async function* source() {
    yield bytes;
  }
  for await (const { entry, body } of readTar(source(), options)) {
    for await (const _ of body) void _;
    entries.push(entry);
  }
  return entries;
}
const refusal = (bytes: Uint8Array, code: string, message: RegExp) =>
  expect(read(bytes)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });

describe('hostile archives', () => {
  it('with names that lead outside are refused by name', async () => {
    for (const name of ['../x', '/etc/passwd', 'a/../../x', '..'])
      await refusal(named(name), 'UNSAFE_PATH', new RegExp(name.replaceAll('.', '\\.')));
    await refusal(Buffer.concat([special('x', record('path', '../x')), forged({})]), 'UNSAFE_PATH', /\.\.\/x/);
    await refusal(Buffer.concat([special('L', '../x\u0000'), forged({})]), 'UNSAFE_PATH', /\.\.\/x/);
    await refusal(Buffer.concat([special('x', record('path', 'a\u0000b')), forged({})]), 'UNSAFE_PATH', /NUL/);
    await refusal(named('h', { 156: '1', 157: '../../etc/shadow' }), 'UNSAFE_PATH', /hard link/);
    await refusal(named('./', { 156: '0' }), 'UNSAFE_PATH', /root/);
    expect((await read(named('/etc/x'), { absolute: 'strip' }))[0]?.path).toBe('etc/x');
  });

  it('with wrong checksums, impossible numbers and unknown types are refused', async () => {
    const broken = Buffer.from(named('a'));
    broken[0] = 0x62;
    await refusal(broken, 'INVALID_ARCHIVE', /checksum/);
    await refusal(Buffer.from('hello, I am no tar'.padEnd(512, '.')), 'INVALID_ARCHIVE', /checksum/);
    await refusal(forged({ 124: Buffer.alloc(12, 0xff) }), 'INVALID_ARCHIVE', /size/);
    await refusal(forged({ 124: Buffer.from('80ffffffffffffffffffffff', 'hex') }), 'INVALID_ARCHIVE', /size/);
    await refusal(forged({ 124: '0000000009x\u0000' }), 'INVALID_ARCHIVE', /size/);
    await refusal(forged({ 108: Buffer.alloc(8, 0xff) }), 'INVALID_ARCHIVE', /uid/);
    await refusal(named('s', { 156: 'S' }), 'INVALID_ARCHIVE', /"s".*sparse/);
    await refusal(named('q', { 156: 'Q' }), 'INVALID_ARCHIVE', /unknown type "Q"/);
    await refusal(Buffer.concat([special('x', record('GNU.sparse.major', '1')), forged({})]), 'INVALID_ARCHIVE', /sparse/);
    await refusal(Buffer.concat([special('x', record('size', '-1')), forged({})]), 'INVALID_ARCHIVE', /size/);
    await refusal(Buffer.concat([special('x', record('size', '99999999999999999999')), forged({})]), 'INVALID_ARCHIVE', /size/);
    await refusal(Buffer.concat([special('x', record('mtime', 'soon')), forged({})]), 'INVALID_ARCHIVE', /mtime/);
    for (const text of ['5 a=b\n', '99 a=b\n', 'x', '5 =b\n', '0 a=b\n', '-6 a=b\n', '6 a=bc']) {
      await refusal(Buffer.concat([special('x', text), forged({})]), 'INVALID_ARCHIVE', /pax/);
    }
  });

  it('that are cut off anywhere are refused', async () => {
    const whole = Buffer.concat([
      special('x', record('path', 'long name')),
      forged({ 124: '00000001000\u0000' }),
      Buffer.alloc(512),
      end,
    ]);
    expect(await read(whole)).toHaveLength(1);
    for (let length = 1; length < whole.length; length += 37) {
      // Between members, and after the last one, an archive may end: docker takes it so.
      if (length === whole.length - 1024) continue;
      await expect(read(whole.subarray(0, length))).rejects.toMatchObject({ code: 'INVALID_ARCHIVE' });
    }
    expect(await read(whole.subarray(0, whole.length - 1024))).toHaveLength(1);
    await refusal(Buffer.concat([forged({}), Buffer.alloc(512), forged({})]), 'INVALID_ARCHIVE', /zero block/);
  });

  it('cannot make the reader hold much: extended headers are bounded', async () => {
    await refusal(forged({ 124: '00004000001\u0000', 156: 'x' }), 'INVALID_ARCHIVE', /extended header of 1048577/);
    await refusal(forged({ 124: '77777777777\u0000', 156: 'L' }), 'INVALID_ARCHIVE', /extended header/);
    const bomb = gzipSync(Buffer.concat([named('big', { 124: '00200000000\u0000' }), Buffer.alloc(32 << 20), end]));
    async function* source() {
      yield bomb;
    }
    const drain = async () => {
      for await (const member of readTar(decompress(source(), { limit: 1 << 20 }))) for await (const _ of member.body) void _;
    };
    await expect(drain()).rejects.toMatchObject({ code: 'TOO_LARGE' });
  });

  it('cannot smuggle a path or size in a global header, nor pollute prototypes', async () => {
    const global = special('g', record('path', 'evil') + record('size', '5') + record('mtime', '77') + record('comment', 'x'));
    const xattr = special('x', record('SCHILY.xattr.__proto__', 'v'));
    const [first, second] = await read(Buffer.concat([global, named('one'), xattr, named('two'), end]));
    expect([first?.path, first?.size, first?.mtime]).toEqual(['one', 0, 77]);
    expect(Object.entries(second?.xattrs ?? {})).toEqual([['__proto__', 'dg==']]);
    expect(({} as Record<string, unknown>).v).toBeUndefined();
  });

  it('made of noise never do anything but fail with our errors', async () => {
    const base = Buffer.concat([
      special('x', record('path', 'name')),
      forged({ 124: '00000000003\u0000' }),
      Buffer.alloc(512),
      special('L', 'long'),
      named('b'),
      end,
    ]);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        async (edits, fix) => {
          const bytes = Buffer.from(base);
          for (const [at, value] of edits) bytes[at] = value;
          if (fix) {
            for (let block = 0; block < bytes.length; block += 512) {
              let sum = 8 * 32;
              for (let at = 0; at < 512; at++) if (at < 148 || at >= 156) sum += bytes[block + at]!;
              if (bytes.toString('latin1', block + 257, block + 262) === 'ustar')
                bytes.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, block + 148, 'latin1');
            }
          }
          try {
            await read(bytes);
          } catch (error) {
            if (!isCode(error, 'INVALID_ARCHIVE', 'UNSAFE_PATH')) throw error;
          }
        },
      ),
      { numRuns: 400 },
    );
  });
});
