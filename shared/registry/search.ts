// Search as docker and podman ask for it: registry v1's `_ping` and `search`, which no OCI document describes (features.md fact 11).
import { OciError } from './errors.ts';
import { type Call, json, type Reply } from './exchange.ts';
import { servedRepositories } from './listings.ts';
import type { RegistryParts } from './parts.ts';

const defaultResults = 25;
const mostResults = 100;

export const ping = (): Reply => json(200, { standalone: true }, { 'x-docker-registry-standalone': 'true' });

/** Repositories whose name contains the term, ignoring case; `page` counts from 1. */
export async function search(parts: RegistryParts, call: Call): Promise<Reply> {
  const query = new URLSearchParams(call.query);
  const term = (query.get('q') ?? '').trim().toLowerCase();
  const size = whole(query.get('n'), 'n') ?? defaultResults;
  if (size > mostResults) {
    throw new OciError('UNSUPPORTED', `limit ${size} is outside the range of [1, ${mostResults}]`, { status: 400 });
  }
  const pageSize = size === 0 ? defaultResults : size;
  const page = Math.max(1, whole(query.get('page'), 'page') ?? 1);
  const names: string[] = [];
  let matching = 0;
  for await (const name of servedRepositories(parts, undefined, 1000)) {
    if (!name.includes(term)) continue;
    if (matching >= (page - 1) * pageSize && names.length < pageSize) names.push(name);
    matching++;
  }
  const results = await Promise.all(names.map((name) => resultOf(parts, name)));
  return json(200, {
    query: term,
    num_results: matching,
    num_pages: Math.ceil(matching / pageSize),
    page,
    page_size: pageSize,
    results,
  });
}

async function resultOf(parts: RegistryParts, name: string): Promise<Record<string, unknown>> {
  const latest = await parts.catalog.resolve(name, 'latest');
  return {
    name,
    description: latest?.annotations?.['org.opencontainers.image.description'] ?? '',
    star_count: 0,
    is_official: false,
    is_automated: false,
  };
}

function whole(text: string | null, name: string): number | undefined {
  if (text === null || text === '') return undefined;
  if (!/^\d{1,9}$/.test(text))
    throw new OciError('UNSUPPORTED', `${name}: "${text.slice(0, 40)}" is not a number`, { status: 400 });
  return Number(text);
}
