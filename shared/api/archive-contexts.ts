// Contexts that come as an archive.
import { checkProject, defaultProject } from '../context/project.ts';
import { SlipwayError } from '../errors.ts';
import { json } from './http.ts';
import type { ApiParts } from './parts.ts';
import { type Route, route } from './router.ts';

export function archiveRoutes(parts: ApiParts): readonly Route[] {
  return [
    route('POST', '/api/v1/contexts/archive', async ({ request, query, access }) => {
      const project = query.get('project') ?? undefined;
      access.require({ project: checkProject(project ?? defaultProject), action: 'build' });
      if (request.body === null)
        throw new SlipwayError('CONTEXT', 'the context is empty: an archive or a Dockerfile was expected');
      const contexts = await parts.contexts();
      return json(
        await contexts.receive(request.body, {
          dockerfile: query.get('dockerfile') ?? undefined,
          project,
          signal: request.signal,
        }),
        201,
      );
    }),
  ];
}
