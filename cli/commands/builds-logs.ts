import type { EventLine } from '../../shared/api/builds.ts';
import type { BuildEvent } from '../../shared/build/events.ts';
import { SlipwayError } from '../../shared/errors.ts';
import { query } from '../api-client.ts';
import { buildId, buildPath, keptBuilds } from '../build-list.ts';
import { defineCommand, UsageError } from '../command.ts';
import { followLog } from '../follow-build.ts';
import { print } from '../io.ts';
import { chooseProgress, progress } from '../progress.ts';

const pageSize = 2000;

export const command = defineCommand({
  name: 'builds logs',
  summary: 'Show the log of a build of a home elsewhere',
  usage: '[OPTIONS] [BUILD]',
  description: `What the build has said so far, in the form of 'slipway build'; with --follow, to its end. The exit code is then that of the build:
0 when it succeeded. Without BUILD, the newest one. Ctrl-C ends the watching, not the build.`,
  examples: [
    ['slipway builds logs -f', 'Watch the newest build'],
    ['slipway builds logs --progress rawjson --after 120 ID', 'As JSON, an event a line, from a number on'],
  ],
  options: {
    follow: { type: 'boolean', short: 'f', help: 'Go on until the build has ended' },
    after: { type: 'string', value: 'number', help: 'Leave out events up to this number (see --progress rawjson)' },
    progress: { type: 'string', value: 'auto|plain|tty|rawjson', help: 'How to show it (default: plain; with --follow: auto)' },
  },
  args: { min: 0, max: 1 },
  async run({ args, options, io, ...call }) {
    const after = Number(options.after ?? 0);
    if (!Number.isSafeInteger(after) || after < 0) throw new UsageError('builds logs', `invalid number "${options.after}"`);
    const kind = chooseProgress(options.progress ?? (options.follow ? undefined : 'plain'), false, io);
    if (kind === undefined) throw new UsageError('builds logs', `invalid progress "${options.progress}"`);
    const { client, project } = await keptBuilds(call);
    const id = await buildId(client, project, args[0]);
    // The events themselves are the output where they are for a program.
    const show = kind === 'rawjson' ? undefined : progress(kind, { ...io, stderr: io.stdout });
    const tell = async (event: EventLine): Promise<void> => {
      if (show === undefined) return print(io, JSON.stringify(event));
      const { number: _, ...plain } = event;
      await show.show(plain as BuildEvent);
    };
    try {
      if (options.follow) {
        const last = await followLog(client, id, { tell, after, elsewhere: true, signal: io.signal });
        if (last.type === 'result') return 0;
        await show?.end();
        const { message } = last.failure;
        const cancelled = last.failure.code === 'CANCELLED';
        throw new SlipwayError('STEP_FAILED', `build ${id} ${cancelled ? 'was cancelled' : `failed: ${message}`}`);
      }
      for (let at = after; ; ) {
        const page = { after: at, follow: 'false', limit: pageSize };
        let count = 0;
        for await (const event of client.events<EventLine>('GET', buildPath(id, `/events${query(page)}`))) {
          await tell(event);
          at = event.number;
          count++;
        }
        // A gateway may have cut a page short: only an empty one is the end.
        if (count === 0) return 0;
      }
    } finally {
      await show?.end();
    }
  },
});
