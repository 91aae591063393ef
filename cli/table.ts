// Columns as docker aligns them: each as wide as its widest cell and three blanks more, at least ten.
const minimum = 10;
const gap = 3;

/** Lines of cells, the last cell of a line not padded. */
export function alignColumns(lines: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const cells of lines) {
    cells.slice(0, -1).forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? minimum, Array.from(cell).length + gap);
    });
  }
  return lines.map((cells) =>
    cells
      .map((cell, i) => (i === cells.length - 1 ? cell : cell + ' '.repeat(Math.max(0, widths[i]! - Array.from(cell).length))))
      .join('')
      .trimEnd(),
  );
}
