// WWW-Authenticate (RFC 9110 section 11.6.1): one header may carry several challenges, several headers are joined by commas.
export interface Challenge {
  /** Lower case: `basic`, `bearer`. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly params: Readonly<Record<string, string>>;
}

const scheme = /^\s*([A-Za-z][A-Za-z0-9_-]*)(?=\s|,|$)/;
const parameter = /^\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/;

/** The challenges in order. What is malformed ends the parse: what came before it counts. */
export function parseChallenges(header: string | undefined): readonly Challenge[] {
  const challenges: { scheme: string; params: Record<string, string> }[] = [];
  let rest = (header ?? '').slice(0, 8192);
  while (rest.trim() !== '') {
    const param = parameter.exec(rest);
    const current = challenges.at(-1);
    if (param !== null && current !== undefined) {
      current.params[(param[1] as string).toLowerCase()] = param[2]?.replace(/\\(.)/g, '$1') ?? param[3] ?? '';
      rest = rest.slice(param[0].length);
    } else {
      const name = scheme.exec(rest);
      if (name === null) return challenges;
      challenges.push({ scheme: (name[1] as string).toLowerCase(), params: {} });
      rest = rest.slice(name[0].length);
    }
    rest = rest.replace(/^[\s,]+/, '');
  }
  return challenges;
}
