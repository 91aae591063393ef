// Files from the web, for ADD: with the same care for where they lead as registries are met with.
import type { HttpClient } from '../client/http.ts';
import type { Download } from './ports.ts';

export const downloads =
  (http: HttpClient): Download =>
  async (url, signal) => {
    const { status, headers, body } = await http.send({ method: 'GET', url, headers: { 'accept-encoding': 'identity' }, signal });
    const modified = headers['last-modified'];
    return { status, ...(modified === undefined ? {} : { modified }), body };
  };
