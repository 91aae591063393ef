// Dependencies point one way. The table below is the rule; everything else here only reads imports.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Types that other folders are written against, and nothing else: any file of shared/ may import them, and they import only each other and oci/. */
const walls = [
  'shared/errors.ts',
  'shared/store/blobs.ts',
  'shared/store/table.ts',
  'shared/store/catalog.ts',
  'shared/layer/entry.ts',
] as const;

/** Folders of shared/ in order: each may import those in rows above it, and its own. Folders in one row know nothing of each other. */
const order: readonly (readonly string[])[] = [
  ['oci', 'cost'],
  ['stream', 'dockerfile'],
  ['tar'],
  ['store'],
  ['store/aws', 'layer', 'sandbox'],
  ['image', 'context'],
  ['auth', 'container'],
  ['client'],
  ['build'],
  ['transfer'],
  ['registry', 'archive', 'workflow', 'collection'],
  ['api'],
];

/** What each folder of the first level may import besides itself. */
const topLevel: Readonly<Record<string, readonly string[]>> = {
  shared: [],
  functions: ['shared'],
  infra: [],
  local: ['shared'],
  cli: ['shared', 'local'],
  examples: [],
};

/** Packages that one place alone may import. Matching is by prefix; types count too. */
const packages: readonly { readonly name: RegExp; readonly only: RegExp }[] = [
  { name: /^@aws-sdk\//, only: /^(shared\/store\/aws|functions)\// },
  { name: /^@smithy\//, only: /^(shared\/store\/aws|functions)\// },
  { name: /^(aws-cdk-lib|constructs)(\/|$)/, only: /^infra\// },
  { name: /^(vitest|fast-check)(\/|$)/, only: /^(test|bench)\// },
];

/** Imports that break the rule today, each with what mends it. Take the line out with the import: a line too many fails as well. */
const owed: readonly string[] = [];

interface Import {
  readonly from: string;
  readonly to: string;
}

function sources(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .filter((file) => !file.includes('node_modules/'));
}

/** Static imports, exports from elsewhere, dynamic imports and worker files, with relative names resolved. */
function importsOf(file: string, text: string): Import[] {
  // Comments may show imports; strings that look like comments do no harm, because only imports are looked for.
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const patterns = [/\bfrom\s+'([^']+)'/g, /\bimport\s+'([^']+)'/g, /\bimport\(\s*'([^']+)'/g, /new URL\([^)]*?'(\.[^']+\.ts)'/g];
  return patterns.flatMap((pattern) =>
    Array.from(code.matchAll(pattern), ([, name]) => ({
      from: file,
      to: name!.startsWith('.') ? posix.normalize(posix.join(dirname(file), name!)) : name!,
    })),
  );
}

const folders = readdirSync(root, { withFileTypes: true })
  .filter(
    (entry) =>
      entry.isDirectory() && !entry.name.startsWith('.') && !['node_modules', 'dist', 'docs', 'cdk.out'].includes(entry.name),
  )
  .map((entry) => entry.name);
const files = folders.flatMap(sources);
const imports = files.flatMap((file) => importsOf(file, readFileSync(join(root, file), 'utf8')));
const show = (broken: readonly Import[]): string[] => broken.map(({ from, to }) => `${from} imports ${to}`);

const top = (path: string): string => path.split('/')[0]!;
const isOurs = (path: string): boolean => folders.includes(top(path)) && path.endsWith('.ts');
const isWall = (path: string): boolean => (walls as readonly string[]).includes(path);

/** The folder of `order` that a file of shared/ is in. */
const shelfOf = (path: string): string => (path.startsWith('shared/store/aws/') ? 'store/aws' : path.split('/')[1]!);
const rankOf = (shelf: string): number => order.findIndex((row) => row.includes(shelf));

describe('dependencies', () => {
  test('are read at all', () => {
    expect(files.length).toBeGreaterThan(50);
    const found = importsOf(
      'shared/a/b.ts',
      "import x from '../oci/digest.ts';\nexport { y } from './c.ts'; await import('zod');\n// from 'no'",
    );
    expect(found.map(({ to }) => to)).toEqual(['shared/oci/digest.ts', 'shared/a/c.ts', 'zod']);
  });

  test('between the folders of the first level point one way', () => {
    const broken = imports.filter(({ from, to }) => {
      if (!isOurs(to) || top(from) === top(to)) return false;
      return top(from) in topLevel && !topLevel[top(from)]!.includes(top(to));
    });
    expect(show(broken)).toEqual(owed.filter((line) => !line.startsWith('shared/')));
  });

  test('on tests and benchmarks have only tests and benchmarks', () => {
    const aside = ['test', 'bench'];
    expect(show(imports.filter(({ from, to }) => isOurs(to) && aside.includes(top(to)) && !aside.includes(top(from))))).toEqual(
      [],
    );
  });

  test('within shared point to earlier folders only', () => {
    const shelves = [...new Set(files.filter((file) => /^shared\/.+\//.test(file)).map(shelfOf))];
    expect(shelves.filter((shelf) => rankOf(shelf) < 0)).toEqual([]);
    const broken = imports.filter(({ from, to }) => {
      if (top(from) !== 'shared' || top(to) !== 'shared' || isWall(from) || isWall(to)) return false;
      return shelfOf(from) !== shelfOf(to) && rankOf(shelfOf(to)) >= rankOf(shelfOf(from));
    });
    expect(show(broken).sort()).toEqual(owed.filter((line) => line.startsWith('shared/')));
  });

  test('of the walls are other walls and oci', () => {
    const broken = imports.filter(({ from, to }) => isWall(from) && !isWall(to) && !to.startsWith('shared/oci/'));
    expect(show(broken)).toEqual([]);
  });

  test('on an SDK, the CDK or a test tool stay in their place', () => {
    const broken = imports.filter(({ from, to }) => packages.some(({ name, only }) => name.test(to) && !only.test(from)));
    expect(show(broken).filter((line) => !/^(test|bench|vitest\.config)/.test(line))).toEqual([]);
  });

  test('go to the file that has the thing, not through a barrel', () => {
    expect(files.filter((file) => /(^|\/)(index|utils?|helpers?|common|misc)\.ts$/.test(file))).toEqual([]);
    const reexports = files.filter((file) =>
      /^export\s+(\*|\{[^}]*\}|type\s+\{[^}]*\})\s+from\b/m.test(readFileSync(join(root, file), 'utf8')),
    );
    expect(reexports).toEqual([]);
  });

  test('within shared are on no command line and no console', () => {
    const loud = files.filter(
      (file) =>
        top(file) === 'shared' && /\b(console\.|process\.exit\b|process\.argv\b)/.test(readFileSync(join(root, file), 'utf8')),
    );
    expect(loud).toEqual([]);
  });
});
