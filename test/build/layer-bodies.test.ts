// COPY --from of a stage: the content of files, wherever they lie.
import { expect, it } from 'vitest';
import { buildHome } from '../support/build-home.ts';

it('reads files from several layers that are not unpacked, and leaves nothing behind', async () => {
  await using home = await buildHome();
  await home.file('a.txt', 'from the context');
  // The stages have no RUN after them, so nothing is ever unpacked: the bodies come from the layers' blobs.
  const built = await home.build(
    'FROM scratch AS b\nCOPY a.txt /d/a\nCOPY <<EOF /d/b\nheredoc\nEOF\nCOPY a.txt /d/twice\nFROM scratch\nCOPY --from=b /d /copied\nRUN write /last 1',
  );
  expect(built.error).toBeUndefined();
  expect(home.leftovers()).toEqual([]);
  const again = await home.build('FROM scratch AS b\nCOPY a.txt /d/a\nFROM scratch\nCOPY --from=b /d/a /other', {
    noCache: true,
  });
  expect(again.error).toBeUndefined();
});

it('says so when a layer is gone that was there when the build began', async () => {
  await using home = await buildHome();
  await home.file('a.txt', 'x');
  const dockerfile = 'FROM scratch AS b\nCOPY a.txt /a\nRUN say here; wait go\nFROM scratch\nCOPY --from=b /a /b';
  const id = await home.start(dockerfile);
  const ended = home.follow(id);
  await home.sandbox.said('here');
  for (const { digest } of await home.blobs.list({ limit: 100 })) await home.blobs.delete(digest);
  const waker = home.start('FROM scratch\nRUN say go').then(home.follow);
  const { error } = await ended;
  expect(error).toMatchObject({ code: 'NOT_FOUND', where: { start: { line: 5 } } });
  await waker;
});
