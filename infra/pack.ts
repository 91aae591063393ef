// What a published package has besides the command line, into dist/ (npm runs this before it packs): the construct as one CommonJS file
// that every Node the CDK supports can load by `import` and by `require`, its types, and the functions ready to be deployed. Node runs
// TypeScript in a checkout only, never below node_modules, and whoever uses the construct needs neither esbuild nor this repository's
// packages. docs/decisions/0016 has the reasons.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSync, type Metafile } from 'esbuild';
import { bundleProgram, programFolders } from './program-bundle.ts';

const root = join(import.meta.dirname, '..');
const dist = join(root, 'dist');
const construct = 'infra/slipway.ts';

function functions(): readonly Metafile[] {
  return programFolders().map((name) => {
    const out = join(dist, 'functions', name);
    mkdirSync(out, { recursive: true });
    return bundleProgram(name, out).metafile;
  });
}

/** The construct. The CDK is the app's own: two copies of it in one app do not know each other's constructs. */
function infra(): void {
  buildSync({
    absWorkingDir: root,
    entryPoints: [construct],
    outdir: join(dist, 'infra'),
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    external: ['aws-cdk-lib', 'constructs', 'esbuild'],
    define: { 'import.meta.dirname': '__dirname', 'import.meta.url': '__moduleUrl' },
    banner: { js: 'const __moduleUrl=require("node:url").pathToFileURL(__filename).href;' },
    logLevel: 'warning',
  });
  writeFileSync(join(dist, 'package.json'), '{"type":"commonjs"}\n');
  // What the construct reads beside itself, such as the code of a CloudFront function.
  for (const name of readdirSync(import.meta.dirname)) {
    if (!name.endsWith('.ts')) cpSync(join(import.meta.dirname, name), join(dist, 'infra', name));
  }
}

/** Declarations of what the construct's file exports and refers to. */
function types(): void {
  const scratch = mkdtempSync(join(tmpdir(), 'slipway-types-'));
  try {
    const config = {
      extends: join(root, 'tsconfig.json'),
      compilerOptions: {
        noEmit: false,
        declaration: true,
        emitDeclarationOnly: true,
        rootDir: join(root, 'infra'),
        outDir: join(scratch, 'out'),
        typeRoots: [join(root, 'node_modules/@types')],
      },
      include: [],
      files: [join(root, construct)],
    };
    writeFileSync(join(scratch, 'tsconfig.json'), JSON.stringify(config));
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    execFileSync(process.execPath, [compiler, '-p', scratch], { cwd: root, stdio: 'inherit' });
    for (const file of reachable(join(scratch, 'out'), 'slipway.d.ts')) {
      const text = readFileSync(join(scratch, 'out', file), 'utf8').replace(/(from '\.\/[^']+)\.ts'/g, "$1.js'");
      writeFileSync(join(dist, 'infra', file), text);
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

function reachable(folder: string, first: string): ReadonlySet<string> {
  const found = new Set([first]);
  for (const file of found) {
    const text = readFileSync(join(folder, file), 'utf8');
    for (const [, name] of text.matchAll(/from '\.\/([^']+)\.ts'/g)) found.add(`${name}.d.ts`);
  }
  return found;
}

/** The licences of everything that is bundled, which most of them ask to be given with copies. */
function licences(bundles: readonly Metafile[]): void {
  const { metafile } = buildSync({
    absWorkingDir: root,
    entryPoints: ['cli/main.ts'],
    outdir: dist,
    bundle: true,
    platform: 'node',
    format: 'esm',
    write: false,
    metafile: true,
    logLevel: 'error',
  });
  const packages = new Set<string>();
  for (const { inputs } of [...bundles, metafile]) {
    for (const file of Object.keys(inputs)) {
      const found = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0];
      if (found !== undefined) packages.add(found);
    }
  }
  // Dozens of packages have the same text.
  const names = new Map<string, string[]>();
  for (const folder of [...packages].sort()) {
    const { name, version, license } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as {
      readonly name: string;
      readonly version: string;
      readonly license?: string;
    };
    const file = readdirSync(join(root, folder)).find((one) => /^licen[cs]e(\.|$)/i.test(one));
    const text =
      file === undefined ? `${license ?? 'no licence is given'}` : readFileSync(join(root, folder, file), 'utf8').trim();
    names.set(text, [...(names.get(text) ?? []), `${name} ${version}`]);
  }
  const texts = [...names].map(([text, those]) => `${those.join('\n')}\n\n${text}\n`);
  writeFileSync(join(dist, 'THIRD-PARTY-LICENSES.txt'), texts.join(`\n${'-'.repeat(80)}\n\n`));
}

for (const folder of ['infra', 'functions']) rmSync(join(dist, folder), { recursive: true, force: true });
mkdirSync(join(dist, 'infra'), { recursive: true });
const bundles = functions();
infra();
types();
licences(bundles);
process.stdout.write(`dist/infra/slipway.js and ${bundles.length} programs\n`);
