// How large a plan may become. Variables that double, or thousands of RUNs under a large environment, make much out of a small file.
import { SlipwayError, type SourceRange } from '../errors.ts';

/** Characters of all values, commands and environments in a plan together. */
export const maxPlanText = 16 * 1024 * 1024;

/** What a step costs besides its text. */
export const stepOverhead = 200;

export class PlanBudget {
  #left = maxPlanText;

  /** @throws SlipwayError TOO_LARGE at `where` when the plan has outgrown `maxPlanText`. */
  charge(characters: number, where: SourceRange): void {
    this.#left -= characters;
    if (this.#left < 0)
      throw new SlipwayError('TOO_LARGE', `the plan of this Dockerfile has more than ${maxPlanText} characters`, {
        where,
        hint: 'look for variables that are repeated many times in one another',
      });
  }
}
