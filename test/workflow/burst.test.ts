import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Meter } from '../../shared/cost/meter.ts';
import { loadOf, type MachineLoad, watchBurst } from '../../shared/workflow/burst.ts';

const stat = 'cpu  100 10 30 9000 50 2 3 7 0 0\ncpu0 50 5 15 4500 25 1 1 3 0 0\nintr 5\n';
const meminfo = 'MemTotal:        8000000 kB\nMemFree:         1000000 kB\nMemAvailable:    5952000 kB\n';

test('is read from what the kernel tells', () => {
  // 145 hundredths of a second of user, nice, system, irq and softirq; 2,048,000 kB.
  expect(loadOf(stat, meminfo)).toEqual({ busy: 1450, mib: 2000 });
  expect(loadOf('', '')).toEqual({ busy: 0, mib: 0 });
});

test('is what goes beyond the baseline, look by look, and belongs to the step under way', async () => {
  let load: MachineLoad = { busy: 5000, mib: 1000 };
  let now = 0;
  const meter = new Meter({ clock: () => now });
  const looks: (() => void)[] = [];
  const watching = watchBurst(
    meter,
    { milliVcpu: 1000, mib: 2048 },
    {
      read: () => {
        for (const looked of looks.splice(0)) looked();
        return load;
      },
      clock: () => now,
      interval: 1,
    },
  );
  const look = () => new Promise<void>((resolve) => looks.push(resolve));
  const end = meter.step('[2/2] RUN make', 0);
  // Three processors busy for a second, and half a GB above: two vCPU-seconds, half a GB-second.
  now = 1000;
  load = { busy: 8000, mib: 2560 };
  await look();
  await sleep(0);
  end();
  const used = { microvmBurstMilliVcpuMs: 2_000_000, microvmBurstMibMs: 512_000 };
  expect(meter.read()).toEqual({ usage: used, steps: [{ stage: 0, name: '[2/2] RUN make', ms: 1000, usage: used }] });
  // Idle time does not make up for it.
  now = 5000;
  load = { busy: 8000, mib: 100 };
  watching[Symbol.dispose]();
  expect(meter.read().usage).toEqual(used);
});

test('is not counted where the machine does not tell', () => {
  const meter = new Meter({ clock: () => 0 });
  const read = (): MachineLoad => {
    throw new Error('no /proc');
  };
  watchBurst(meter, { milliVcpu: 1, mib: 1 }, { read })[Symbol.dispose]();
  expect(meter.read().usage).toEqual({});
});
