// What progress shows as a step's name: `[builder 2/5] RUN make`, as BuildKit counts (FROM is 1; steps that only edit the config are
// not shown).
import type { Plan, PlannedStage, Step } from './plan.ts';

export const isShown = (step: Step): boolean => step.operation.kind !== 'config';

export function stepTitle(plan: Plan, stage: PlannedStage, position: number, display: string): string {
  const total = 1 + stage.steps.filter(isShown).length;
  const name = stage.name ?? (plan.stages.length > 1 ? `stage-${stage.index}` : undefined);
  return `[${name === undefined ? '' : `${name} `}${position}/${total}] ${display}`;
}
