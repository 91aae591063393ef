// Sizes and ages as docker prints them (github.com/docker/go-units).

const sizeUnits = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];

/** Three significant digits in decimal units: `0B`, `5.59MB`, `1.2GB`. */
export function humanSize(bytes: number): string {
  let size = bytes;
  let unit = 0;
  // What rounds to 1000 belongs to the next unit.
  while (Number(size.toPrecision(3)) >= 1000 && unit < sizeUnits.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${Number(size.toPrecision(3))}${sizeUnits[unit]}`;
}

/** `About a minute`, `3 weeks`, ... */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.trunc(milliseconds / 1000);
  const minutes = Math.trunc(seconds / 60);
  const hours = Math.trunc(seconds / 3600 + 0.5);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < 60) return `${seconds} seconds`;
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.trunc(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.trunc(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(hours / 24 / 30)} months`;
  return `${Math.trunc(seconds / 3600 / 24 / 365)} years`;
}

/** `3 weeks ago`; `N/A` when the time is not known (or Go's zero). */
export function ago(time: string | undefined, now: number): string {
  const at = time === undefined ? Number.NaN : Date.parse(time);
  if (Number.isNaN(at) || time?.startsWith('0001-')) return 'N/A';
  return `${humanDuration(Math.max(0, now - at))} ago`;
}

/** `2026-01-02 03:04:05 +0000 UTC`, as Go prints a time. */
export function goTime(time: string | undefined): string {
  const at = time === undefined ? Number.NaN : Date.parse(time);
  if (Number.isNaN(at)) return 'N/A';
  return `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} +0000 UTC`;
}

/** Twelve digits of an ID. */
export const shortId = (id: string): string => (/^sha(?:256|512):/.test(id) ? id.slice(7, 19) : id);
