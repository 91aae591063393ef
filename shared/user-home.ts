import { homedir } from 'node:os';

/** The user's own folder: HOME, else what passwd says, else `/`, as container runtimes have it for a number that is no user. */
export function userHome(env: Readonly<Record<string, string | undefined>>): string {
  if (env.HOME) return env.HOME;
  try {
    return homedir();
  } catch {
    // ENOENT: no line in passwd.
    return '/';
  }
}
