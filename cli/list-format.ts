// `--format` of lists, as docker has it: `json`, `table TEMPLATE` (with headings), a bare template, or the list's own table.
import { alignColumns } from './table.ts';
import { parseTemplate } from './template.ts';
import { visible } from './visible.ts';

/** What a row may show: column name to its heading. */
export type Headings = Readonly<Record<string, string>>;
export type Cells = Readonly<Record<string, string>>;

/** The lines of the list. `columns`: the table when no format was asked for. */
export function formatList(
  rows: readonly Cells[],
  headings: Headings,
  columns: readonly string[],
  format?: string,
): readonly string[] {
  if (format === 'json' || format === '{{json .}}') return rows.map((row) => JSON.stringify(row));
  const isTable = format === undefined || format === 'table' || format.startsWith('table ');
  const given = format?.replace(/^table\s*/, '');
  const source = withBlanks(isTable ? given || columns.map((name) => `{{.${name}}}`).join('\t') : format);
  const template = parseTemplate(source);
  const lines = (isTable ? [headings, ...rows.map(inTable)] : rows).map((row) => template.render(row));
  return isTable ? alignColumns(lines.map((line) => line.split('\t'))) : lines;
}

/** A line break or a tab in a cell would be taken for the end of it. */
const inTable = (row: Cells): Cells => Object.fromEntries(Object.entries(row).map(([name, cell]) => [name, visible(cell)]));

/** A shell passes `\t` as two characters. */
const withBlanks = (template: string): string => template.replace(/\\t/g, '\t').replace(/\\n/g, '\n');
