// Projects: what keeps the contexts and builds of one purpose apart from those of another.
import { SlipwayError } from '../errors.ts';

/** Of a build and a client that name none. */
export const defaultProject = 'default';

const shape = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** The name becomes a part of keys, URLs and scopes. */
export const isProject = (name: string): boolean => shape.test(name);

/** USAGE for anything but a project's name. */
export function checkProject(name: string): string {
  if (isProject(name)) return name;
  throw new SlipwayError('USAGE', `${JSON.stringify(name.slice(0, 140))} is not the name of a project`, {
    hint: 'Use letters, digits, and . _ - inside; at most 128 characters.',
  });
}
