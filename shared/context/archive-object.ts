// Archives that somebody put into the home's own bucket with any S3 client, to be built from: `s3://BUCKET/contexts/PROJECT/NAME`, or
// `s3://BUCKET/contexts/NAME` for the project `default`. No other place is read, so a build gets at nothing that its maker could not have
// put there or built from.
import { SlipwayError } from '../errors.ts';
import type { Bytes, Options } from '../store/blobs.ts';
import { checkProject, defaultProject } from './project.ts';

/** The home's bucket, below `contexts/`. Keys are those of the bucket, `contexts/` included. */
export interface ArchiveObjects {
  readonly bucket: string;
  /** Bytes of the object. Absence is `undefined`. */
  size(key: string, options?: Options): Promise<number | undefined>;
  /** Absence is `undefined`. */
  open(key: string, options?: Options): Promise<{ readonly size: number; readonly body: Bytes } | undefined>;
}

export const archiveFolder = 'contexts/';

/** The key that a URL names, for a build of this project. @throws USAGE, DENIED naming the place */
export function archiveKey(url: string, bucket: string, project: string): string {
  const [, named, key] = /^s3:\/\/([^/]*)\/(.*)$/s.exec(url) ?? [];
  const shown = JSON.stringify(url.slice(0, 300));
  if (named === undefined || key === undefined) {
    throw new SlipwayError('USAGE', `${shown} is no s3:// URL`, { hint: `Write s3://${bucket}/${archiveFolder}NAME.tar.gz` });
  }
  const denied = (why: string): SlipwayError =>
    new SlipwayError('DENIED', `${shown} ${why}`, {
      hint: `Put the archive below s3://${bucket}/${archiveFolder}${project === defaultProject ? '' : `${project}/`} (aws s3 cp).`,
    });
  if (named !== bucket) throw denied(`is not in this home's own bucket, ${bucket}`);
  if (!key.startsWith(archiveFolder)) throw denied(`is not below ${archiveFolder}`);
  const inside = key.slice(archiveFolder.length);
  const slash = inside.indexOf('/');
  if (inside === '' || inside.endsWith('/') || /[\0-\x1f\x7f]/.test(inside)) throw denied('names no object');
  const owner = slash < 0 ? defaultProject : inside.slice(0, slash);
  if (owner !== checkProject(project)) throw denied(`is of the project ${owner.slice(0, 130)}, and the build of ${project}`);
  return key;
}
