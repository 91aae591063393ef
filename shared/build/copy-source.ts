// The source of a COPY that has only here-documents: no files.
import { Context } from '../context/list.ts';
import { SlipwayError } from '../errors.ts';
import type { ContextSource } from './ports.ts';

export const emptySource: ContextSource = {
  list: Context.empty,
  body(entry) {
    throw new SlipwayError('INTERNAL', `/${entry.path} is in no context`);
  },
  scope: '',
};
