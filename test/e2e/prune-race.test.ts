// Processes that build, tag, save and remove in one home while another prunes it again and again: nobody fails, nothing is lost.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { attempt, type CommandResult, must } from '../support/command.ts';
import { tempFolder } from '../support/temp.ts';

const main = join(import.meta.dirname, '../../cli/main.ts');
const builders = 3;
const rounds = 6;

test('pruning hurts nobody at work', async () => {
  await using folder = await tempFolder();
  const env = { ...process.env, SLIPWAY_HOME: join(folder.path, 'home'), SLIPWAY_ENDPOINT: '', SLIPWAY_THREADS: '1' };
  const slipway = (...argv: string[]) => attempt([process.execPath, main, ...argv], { env });
  // Layers that all of them share, and that are in images only now and then: found, lost and made again.
  const dockerfile = (who: number, round: number): string => `FROM scratch AS shared
COPY a /
COPY b /
FROM scratch
COPY --from=shared /a /b /${round % 2}/
LABEL by=${who}-${round}
`;
  await mkdir(join(folder.path, 'ctx'));
  for (const name of ['a', 'b']) await writeFile(join(folder.path, 'ctx', name), name.repeat(50_000));
  const failures: string[] = [];
  const check = ({ exitCode, stdout, stderr }: CommandResult, what: string): void => {
    if (exitCode !== 0) failures.push(`${what}: ${stdout}${stderr}`);
  };
  let working = builders;
  const rounding = async (who: number): Promise<void> => {
    for (let round = 0; round < rounds; round++) {
      const file = join(folder.path, `Dockerfile.${who}`);
      await writeFile(file, dockerfile(who, round));
      check(await slipway('build', '-q', '-t', `app:${who}`, '-f', file, join(folder.path, 'ctx')), `build ${who}.${round}`);
      check(await slipway('save', '-o', join(folder.path, `${who}.tar`), `app:${who}`), `save ${who}.${round}`);
      if (round % 3 === 2) check(await slipway('rm', `app:${who}`), `rm ${who}.${round}`);
    }
  };
  // Whatever becomes of it: the other would prune for ever.
  const build = (who: number): Promise<void> => rounding(who).finally(() => working--);
  const prune = async (): Promise<void> => {
    while (working > 0) check(await slipway('system', 'prune', '-f'), 'prune');
  };
  await Promise.all([...Array.from({ length: builders }, (_, who) => build(who)), prune()]);
  expect(failures).toEqual([]);
  await must([process.execPath, main, 'system', 'prune', '-af'], { env });
}, 300_000);
