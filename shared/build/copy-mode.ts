// --chmod of COPY and ADD: octal, or symbolic as BSD's setmode(3) has it, which is what BuildKit applies.
import { SlipwayError } from '../errors.ts';

/** The mode that a file or directory with `mode` gets. */
export type ModeChange = (mode: number, isDirectory: boolean) => number;

const classes = { u: 0o4700, g: 0o2070, o: 0o007, a: 0o6777 } as const;
const shifts = { u: 6, g: 3, o: 0 } as const;
const sticky = 0o1000;

/** One operator with its permissions, for the classes named before it. */
function action(who: string, operator: string, permissions: string): ModeChange {
  let mask = 0;
  for (const c of who) mask |= classes[c as keyof typeof classes];
  const everyone = who === '';
  const reach = everyone ? classes.a : mask;
  // setuid, setgid and sticky mean nothing to "others" alone.
  const special = everyone || (mask & ~0o007) !== 0;
  return (mode, isDirectory) => {
    let bits = 0;
    for (const c of permissions) {
      if (c === 'r') bits |= 0o444;
      else if (c === 'w') bits |= 0o222;
      else if (c === 'x') bits |= 0o111;
      else if (c === 'X' && (operator === '-' || isDirectory || (mode & 0o111) !== 0)) bits |= 0o111;
      else if (c === 's' && special) bits |= 0o6000;
      else if (c === 't' && special) bits |= sticky;
      else if (c === 'u' || c === 'g' || c === 'o') bits |= ((mode >> shifts[c]) & 7) * 0o111;
    }
    bits &= reach | sticky;
    if (operator === '-') return mode & ~bits;
    return operator === '=' ? (mode & ~reach) | bits : mode | bits;
  };
}

const clause = /^([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)$/;

/** Anything else is DOCKERFILE, in docker's words. */
export function parseChmod(text: string): ModeChange {
  if (/^[0-7]+$/.test(text) && Number.parseInt(text, 8) <= 0o7777) {
    const octal = Number.parseInt(text, 8);
    return () => octal;
  }
  const actions: ModeChange[] = [];
  for (const part of text.split(',')) {
    const parsed = clause.exec(part);
    if (parsed === null) {
      throw new SlipwayError(
        'DOCKERFILE',
        `invalid chmod parameter: '${text}'. it should be octal string and between 0 and 07777`,
        { hint: 'for example 755 or u=rwX,go=rX' },
      );
    }
    for (const [, operator, permissions] of parsed[2]!.matchAll(/([-+=])([^-+=]*)/g)) {
      actions.push(action(parsed[1]!, operator!, permissions!));
    }
  }
  return (mode, isDirectory) => actions.reduce((now, change) => change(now, isDirectory), mode);
}
