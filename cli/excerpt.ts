// The lines of a Dockerfile that an error is about, marked as BuildKit marks them.
import type { SourceRange } from '../shared/errors.ts';

/** `source` is the file's text when the error carries it (the file itself may be far away, or standard input). */
export async function excerpt(where: SourceRange, source: unknown): Promise<string> {
  const head = `${where.file}:${where.start.line}`;
  if (typeof source !== 'string') return head;
  const lines = source.split('\n');
  const first = Math.max(1, where.start.line - 2);
  const last = Math.min(lines.length, where.end.line + 2);
  const out = [head, '--------------------'];
  for (let n = first; n <= last; n++) {
    const marked = n >= where.start.line && n <= where.end.line;
    out.push(` ${String(n).padStart(3)} | ${marked ? '>>>' : '   '} ${lines[n - 1] ?? ''}`);
  }
  out.push('--------------------');
  return out.join('\n');
}
