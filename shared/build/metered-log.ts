// A log that tells the meter which step is under way, so that what is used is known by step.
import { currentMeter } from '../cost/meter.ts';
import type { StepLog } from './events.ts';

/** The same log; `stage` is what its steps belong to. Without a meter it is left as it is. */
export function meteredLog(log: StepLog, stage?: number): StepLog {
  const meter = currentMeter();
  if (meter === undefined) return log;
  return {
    start(name) {
      const end = meter.step(name, stage);
      const report = log.start(name);
      return {
        id: report.id,
        output: (stream, text) => report.output(stream, text),
        note: (text) => report.note(text),
        done(cached) {
          end();
          report.done(cached);
        },
        failed(error) {
          end();
          report.failed(error);
        },
      };
    },
    warning: (warning) => log.warning(warning),
  };
}
