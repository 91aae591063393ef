// Where the peers legitimately differ from each other. One table; an entry that no longer matches anything fails the comparison.
// Where they disagree, Slipway follows what the Dockerfile reference says, then present-day BuildKit, whose 20.10 ancestor is the peer here.
import type { BuilderName } from './builder.ts';

export interface KnownDifference {
  /** Name of the case; every case when absent. */
  readonly case?: string;
  /** The builders that stand apart here. */
  readonly builders: readonly BuilderName[];
  readonly subject: RegExp;
  /** Properties of the tree entry; all when absent. */
  readonly properties?: readonly string[];
  /** Why this is no defect of the other side. */
  readonly reason: string;
}

export const knownDifferences: readonly KnownDifference[] = [
  {
    builders: ['buildkit', 'buildah'],
    subject: /^\/(dev|proc|sys)$/,
    properties: ['exists'],
    reason: 'both leave the mount points of a RUN in the layer when the base has none; the reference keeps them out (F54)',
  },
  {
    builders: ['buildah'],
    subject: /^\/(run|etc\/(hosts|hostname|resolv\.conf))$/,
    properties: ['exists'],
    reason: 'buildah leaves the mount points of a RUN in the layer; the reference keeps them out (F54)',
  },
  {
    builders: ['classic', 'buildah'],
    subject: /^\/(base-volume|vol-1)$/,
    properties: ['exists'],
    reason: 'a RUN on a base with a VOLUME makes the folder; BuildKit leaves volumes to the container',
  },
  {
    case: 'volume-write',
    builders: ['classic', 'buildah'],
    subject: /^\/data\//,
    reason: 'writes of RUN below a VOLUME are discarded by both, kept by BuildKit (F60)',
  },
  {
    case: 'add-merge',
    builders: ['classic'],
    subject: /^\/owned$/,
    properties: ['uid', 'gid'],
    reason: 'the classic builder does not give the folder it makes for an archive to --chown',
  },
  {
    case: 'arg-after-env',
    builders: ['buildkit'],
    subject: /^(\/value|config\.Labels)$/,
    reason: 'BuildKit lets the later ARG win; the reference says that ENV always overrides ARG (F62)',
  },
  {
    case: 'args',
    builders: ['classic', 'buildah'],
    subject: /^\/inherited$/,
    reason: 'both forget the ARGs of a stage in a stage built from it; the reference says they are inherited (F62)',
  },
  {
    case: 'chmod',
    builders: ['buildkit'],
    subject: /^\/4711/,
    properties: ['mode'],
    reason: 'BuildKit of docker 20.10 changes the owner after the mode, which clears setuid',
  },
  {
    case: 'copy-modes',
    builders: ['classic', 'buildah'],
    subject: /^\/(added|single|stats|modes\/(both|setgid|setuid|shared))$/,
    properties: ['mode', 'size', 'sha256'],
    reason: 'both change the owner after the mode, which clears setuid and setgid; the mode is to be kept (F78)',
  },
  {
    case: 'copy-links',
    builders: ['buildkit', 'classic'],
    subject: /^\/base\/real\/more$/,
    properties: ['mode', 'gid'],
    reason: 'a folder made below one with setgid inherits its group from the kernel; a made parent is 0755 and root (F78)',
  },
  {
    case: 'copy-links',
    builders: ['buildah'],
    subject: /^\/base\/real\/(kept|to-kept)$/,
    reason: 'buildah replaces a link that is the destination itself, docker writes through it',
  },
  {
    case: 'dockerignore-deep',
    builders: ['classic', 'buildkit', 'buildah'],
    subject: /^\/context\/(node_modules|pkg|other)/,
    reason:
      'the peers do not look into an excluded folder for what a wildcard re-includes; the reference says that the last match wins (F48)',
  },
  {
    case: 'env',
    builders: ['buildah'],
    subject: /^config\.Env$/,
    reason: 'buildah keeps the same variables in another order',
  },
  {
    case: 'health-none',
    builders: ['classic'],
    subject: /^config\.Healthcheck$/,
    reason: 'the classic builder keeps the interval of a check that is no more',
  },
  {
    case: 'health-none',
    builders: ['buildah'],
    subject: /^config\.ExposedPorts$/,
    reason: 'buildah takes the same port of another protocol for a repetition',
  },
  {
    case: 'metadata',
    builders: ['buildah'],
    subject: /^config\.ExposedPorts$/,
    reason: 'buildah neither expands ranges nor lowers the case of the protocol (F55)',
  },
  {
    case: 'shell',
    builders: ['buildah'],
    subject: /^config\.Cmd$/,
    reason: 'buildah uses /bin/sh for the shell form of CMD, whatever SHELL says',
  },
  {
    case: 'user',
    builders: ['buildkit'],
    subject: /^\/tmp\/id-(app|1000|root)$/,
    properties: ['size', 'sha256'],
    reason: 'BuildKit of docker 20.10 gives no supplementary groups; the users of the image have them (F64)',
  },
  {
    case: 'workdir',
    builders: ['classic', 'buildah'],
    subject: /^\/(last|made|made\/as|made\/as\/app)$/,
    properties: ['uid', 'gid'],
    reason: 'BuildKit gives a folder that WORKDIR makes to USER, the classic builder to root, buildah to either',
  },
  {
    case: 'chown',
    builders: ['classic', 'buildah'],
    subject: /^\/base\/made/,
    properties: ['uid', 'gid'],
    reason: 'BuildKit gives a folder that WORKDIR makes to USER, the others to root',
  },
  {
    case: 'stages',
    builders: ['buildah'],
    subject: /^\/second\/(hard|one)$/,
    properties: ['size', 'sha256', 'hardLinks'],
    reason: 'buildah, which makes one layer of all instructions, writes to both names of a file that COPY and RUN made linked',
  },
  {
    case: 'xattrs',
    builders: ['classic'],
    subject: /^\/(capable|several\/capable)$/,
    properties: ['xattrs'],
    reason: 'COPY --from of the classic builder drops file capabilities',
  },
  {
    builders: ['classic', 'buildkit'],
    subject: /^\/(base\/labelled|moved|several\/labelled)$/,
    properties: ['xattrs'],
    reason: 'docker 20.10 stores no extended attribute but file capabilities',
  },
];
