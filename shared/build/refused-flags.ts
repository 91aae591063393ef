// Flags of RUN, COPY and ADD that are valid and not implemented: refused by name, with what does the job without them.
import { unsupported } from '../dockerfile/failure.ts';
import type { Word } from '../dockerfile/source.ts';
import type { SlipwayError } from '../errors.ts';

const instead: Readonly<Record<string, string>> = {
  '--mount=type=bind': 'COPY what it shows the command, in a stage of its own if the image is not to have it',
  '--mount=type=cache': 'leave it out: the command then does all of its work whenever it runs',
  '--mount=type=secret': 'fetch what needs the secret before the build, and COPY that',
  '--mount=type=ssh': 'fetch what needs the key before the build, and COPY that',
  '--mount=type=tmpfs': 'leave it out, and have the same RUN remove what it leaves there',
  '--security': 'do what needs privileges before the build, and COPY that',
  '--device': 'do what needs the device before the build, and COPY that',
  '--parents': 'write one COPY for each folder',
  '--keep-git-dir': 'clone the repository in a stage with RUN git clone',
};

/** @throws UNSUPPORTED at the first of them */
export function refuseFlags(keyword: string, refused: readonly Word[]): void {
  const [first] = refused;
  if (first !== undefined) throw refusal(keyword, first);
}

const refusal = (keyword: string, { text, where }: Word): SlipwayError => unsupported(`${keyword} ${text}`, where, instead[text]);
