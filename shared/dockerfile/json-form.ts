// The exec form: a JSON array of strings in double quotes, exactly; anything else is the shell form.

export type JsonForm =
  | { readonly kind: 'json'; readonly values: readonly string[] }
  /** A JSON array, but of other things: an error for every instruction that takes one. */
  | { readonly kind: 'not-strings' }
  | { readonly kind: 'not-json' };

/** Reads `text` (trimmed) as the exec form. */
export function readJsonForm(text: string): JsonForm {
  if (!text.startsWith('[')) return { kind: 'not-json' };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { kind: 'not-json' }; // then it is the shell form, as `[ -f x ] && y`
  }
  if (!Array.isArray(value)) return { kind: 'not-json' };
  const values: string[] = [];
  for (const item of value) {
    if (typeof item !== 'string') return { kind: 'not-strings' };
    values.push(item.toWellFormed());
  }
  return { kind: 'json', values };
}

/** Start and end (quotes included) of every string in an array that `readJsonForm` accepted. */
export function jsonStringSpans(text: string): { start: number; end: number }[] {
  const spans: { start: number; end: number }[] = [];
  for (let i = 0; i < text.length; i++) {
    if (text[i] !== '"') continue;
    const start = i++;
    for (; i < text.length && text[i] !== '"'; i++) if (text[i] === '\\') i++;
    spans.push({ start, end: i + 1 });
  }
  return spans;
}
