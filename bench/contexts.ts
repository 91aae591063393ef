// The contexts of the scenarios, made from fixed seeds: the same bytes on every machine.
import { createCipheriv, createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** `size` bytes that look random and depend on the seed alone. */
function randomBytes(seed: string, size: number): Buffer {
  const key = createHash('sha256').update(seed).digest().subarray(0, 16);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(size));
}

/** Text that gzip -1 shrinks to about a third, like source code and its kin. */
function prose(seed: string, size: number): Buffer {
  const dice = randomBytes(`${seed} dice`, size);
  const letters = randomBytes(`${seed} letters`, 1 << 16);
  const words = Array.from({ length: 2048 }, (_, index) =>
    letters.subarray(index * 16, index * 16 + 2 + (index % 9)).toString('hex'),
  );
  const out = Buffer.alloc(size);
  for (let at = 0, roll = 0; at < size; roll += 2) {
    const pick = dice.readUInt16LE(roll % (size - 2));
    // Squared, so that some words are far more frequent than others.
    const word = words[Math.floor(((pick % 2048) * (pick % 2048)) / 2048)]!;
    at += out.write(pick % 13 === 0 ? `${word}\n` : `${word} `, at, 'latin1');
  }
  return out;
}

export const base = 'localhost/debian:base';
export const aptBase = 'localhost/debian-apt:base';

export const smallFiles = 30_000;

/** S1: eight instructions, two of them RUN. `src/main.js` is the file that S2 changes. */
export function smallApp(folder: string): void {
  mkdirSync(join(folder, 'src/lib'), { recursive: true });
  const text = prose('app', 1 << 20);
  for (let i = 0; i < 40; i++)
    writeFileSync(join(folder, `src/lib/module-${i}.js`), text.subarray(i * 5000, i * 5000 + 1000 + i * 97));
  writeFileSync(join(folder, 'src/main.js'), 'console.log("first");\n');
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'app', version: '1.0.0' }));
  const lines = [
    `FROM ${base}`,
    'ENV NODE_ENV=production PORT=8080',
    'WORKDIR /app',
    'COPY package.json ./',
    'RUN mkdir -p node_modules && for i in 1 2 3 4 5 6 7 8 9; do echo "module $i" > node_modules/$i.js; done',
    'RUN sha256sum package.json node_modules/*.js > modules.sum',
    // Last, as in any app that is built often: a changed source costs one COPY.
    'COPY src ./src',
    'CMD ["cat", "/app/modules.sum"]',
  ];
  writeFileSync(join(folder, 'Dockerfile'), `${lines.join('\n')}\n`);
}

/** S3: 30,000 files, 246 MB. `d000/f000` is the one that S3c changes. */
export function manyFiles(folder: string): void {
  const pool = prose('many', 16 << 20);
  const sizes = randomBytes('sizes', smallFiles * 2);
  for (let i = 0; i < smallFiles; i++) {
    const directory = join(folder, `files/d${String(Math.floor(i / 100)).padStart(3, '0')}`);
    if (i % 100 === 0) mkdirSync(directory, { recursive: true });
    const size = 200 + (sizes.readUInt16LE(i * 2) % 16_000);
    const start = (i * 7919 * 61) % (pool.length - size);
    writeFileSync(join(directory, `f${String(i % 100).padStart(3, '0')}`), pool.subarray(start, start + size));
  }
  writeFileSync(join(folder, 'Dockerfile'), `FROM ${base}\nCOPY files /data\n`);
}

/** S4: one file of 1 GiB that does not compress. */
export function largeFile(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const file = openSync(join(folder, 'large.bin'), 'w');
  try {
    for (let i = 0; i < 64; i++) writeSync(file, randomBytes(`large ${i}`, 16 << 20));
  } finally {
    closeSync(file);
  }
  writeFileSync(join(folder, 'Dockerfile'), `FROM ${base}\nCOPY large.bin /large.bin\n`);
}

function only(folder: string, lines: readonly string[]): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'Dockerfile'), `${lines.join('\n')}\n`);
}

/** S5: ten RUN steps of 200 files each. */
export function tenRuns(folder: string): void {
  const run = (n: number) => `RUN mkdir -p /out/${n} && for i in $(seq 200); do echo "${n} $i" > /out/${n}/$i; done`;
  only(folder, [`FROM ${base}`, ...Array.from({ length: 10 }, (_, n) => run(n))]);
}

/** S6 */
export const installPackage = (folder: string): void =>
  only(folder, [`FROM ${aptBase}`, 'RUN apt-get update && apt-get install -y --no-install-recommends jq']);

/** S7: four stages that do not depend on each other. */
export function fourStages(folder: string): void {
  const stage = (n: number) => [`FROM ${base} AS stage${n}`, `RUN sleep 3 && dd if=/dev/urandom of=/out-${n} bs=1M count=32`];
  const copies = [1, 2, 3, 4].map((n) => `COPY --from=stage${n} /out-${n} /out-${n}`);
  only(folder, [...[1, 2, 3, 4].flatMap(stage), `FROM ${base}`, ...copies]);
}

/** S8 */
export const configOnly = (folder: string): void =>
  only(folder, [`FROM ${base}`, 'ENV A=1 B=2', 'LABEL org.example.title=bench org.example.version=1', 'CMD ["bash", "-l"]']);

/** S9 */
export const runTrue = (folder: string): void => only(folder, [`FROM ${base}`, 'RUN true']);
