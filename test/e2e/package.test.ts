// The package as npm packs it, in an empty folder: the command line without the CDK, and the construct in an app of somebody else's,
// without Docker, without esbuild, without this repository's packages.
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type TempFolder, tempFolder } from '../support/temp.ts';

const root = join(import.meta.dirname, '../..');
const run = promisify(execFile);

/** The project's Node, and the machine's own where it is another: node_modules/.bin is not looked at. */
const nodes = [
  process.execPath,
  ...(process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => !folder.includes('node_modules') && existsSync(join(folder, 'node')))
    .map((folder) => realpathSync(join(folder, 'node')))
    .slice(0, 1),
].map((node): [string, string] => [execFileSync(node, ['--version'], { encoding: 'utf8' }).trim(), node]);
const versions = [...new Map(nodes)];

let folder: TempFolder;
let tarball: string;
let files: readonly string[];

beforeAll(async () => {
  folder = await tempFolder();
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder.path], { cwd: root, maxBuffer: 1 << 26 });
  // What the scripts say comes first.
  const [packed] = JSON.parse(stdout.slice(stdout.search(/^\[$/m))) as [{ filename: string; files: { path: string }[] }];
  tarball = join(folder.path, packed.filename);
  files = packed.files.map(({ path }) => path);
});
afterAll(() => folder[Symbol.asyncDispose]());

/** An app with the package below its node_modules, and links to such others as it names. */
function app(name: string, others: readonly string[]): string {
  const path = join(folder.path, name);
  const modules = join(path, 'node_modules');
  mkdirSync(join(modules, 'slipway'), { recursive: true });
  execFileSync('tar', ['-xzf', tarball, '-C', join(modules, 'slipway'), '--strip-components=1']);
  for (const other of others) symlinkSync(join(root, 'node_modules', other), join(modules, other));
  return path;
}

describe('the package', () => {
  test('holds what runs and nothing that would have to be built', () => {
    for (const file of ['README.md', 'cli/slipway', 'dist/main.js', 'dist/infra/slipway.js', 'dist/infra/slipway.d.ts']) {
      expect(files).toContain(file);
    }
    for (const program of readdirSync(join(root, 'functions'), { withFileTypes: true })) {
      if (program.isDirectory()) expect(files).toContain(`dist/functions/${program.name}/handler.js`);
    }
    expect(files).toContain('dist/functions/runner/Dockerfile');
    expect(files).toContain('dist/THIRD-PARTY-LICENSES.txt');
    expect(files.filter((file) => /\.ts$/.test(file) && !/\.d\.ts$/.test(file))).toEqual([]);
    expect(statSync(tarball).size).toBeLessThan(5e6);
  });

  test('asks for nothing but Node; the CDK is the app’s', () => {
    const { dependencies, peerDependencies, peerDependenciesMeta } = JSON.parse(
      readFileSync(join(root, 'package.json'), 'utf8'),
    ) as Record<string, Record<string, unknown>>;
    expect(Object.keys(dependencies!)).toEqual(['node']);
    for (const name of Object.keys(peerDependencies!)) expect(peerDependenciesMeta![name]).toEqual({ optional: true });
  });

  test('is a command line without the CDK', async () => {
    const path = app('cli', ['node']);
    const { stdout } = await run(join(path, 'node_modules/slipway/cli/slipway'), ['version'], {
      env: { ...process.env, SLIPWAY_HOME: join(path, 'home') },
    });
    expect(stdout).toContain('0.1.0');
  });
});

describe('the construct in another app', () => {
  let path: string;
  beforeAll(() => {
    path = app('cdk', ['aws-cdk-lib', 'constructs']);
  });

  const body = `
const app = new App({ outdir: process.argv[2] });
const stack = new Stack(app, 'Team');
const { storage } = new Slipway(stack, 'Slipway', { anonymousPull: ['public/**'] });
if (storage.bucket === undefined) throw new Error('no bucket');
app.synth();
`;
  const apps = {
    'app.mjs': `import { App, Stack } from 'aws-cdk-lib';\nimport { Slipway } from 'slipway/cdk';\n${body}`,
    'app.cjs': `const { App, Stack } = require('aws-cdk-lib');\nconst { Slipway } = require('slipway/cdk');\n${body}`,
  };

  // `import` once; `require` is what the CDK's own template does.
  const cases = versions.flatMap(([version, node]) =>
    Object.entries(apps)
      .filter(([file]) => file === 'app.cjs' || node === process.execPath)
      .map(([file, text]) => [version, file, text, node]),
  );
  test.each(cases)('is synthesized by Node %s from %s', async (version, file, text, node) => {
    writeFileSync(join(path, file!), text!);
    const out = join(path, `out-${version}-${file}`);
    // Nothing is found by name: no docker, no esbuild, no npm.
    await run(node!, [join(path, file!), out], { cwd: path, env: { PATH: dirname(node!), HOME: path }, maxBuffer: 1 << 26 });
    const template = JSON.parse(readFileSync(join(out, 'Team.template.json'), 'utf8')) as {
      Resources: Record<string, { Type: string; Properties: { Handler?: string } }>;
    };
    const functions = Object.values(template.Resources).filter(({ Type }) => Type === 'AWS::Lambda::Function');
    expect(functions.filter(({ Properties }) => Properties.Handler === 'handler.handler').length).toBeGreaterThan(8);
    const handlers = readdirSync(out).filter((name) => existsSync(join(out, name, 'handler.js')));
    expect(handlers.length).toBeGreaterThan(8);
  });

  test.each(['nodenext', 'node16', 'bundler'])('has its types, resolved as %s', async (resolution) => {
    const use = `import { App, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Slipway, type SlipwayProps } from 'slipway/cdk';
const props: SlipwayProps = { removalPolicy: RemovalPolicy.RETAIN, front: { kind: 'cloudfront' }, runners: { arm64: 'codebuild' } };
new Slipway(new Stack(new App(), 's'), 'Slipway', props).storage.bucket.bucketName.trim();
// @ts-expect-error there is no such front
const wrong: SlipwayProps = { front: { kind: 'pigeons' } };
// @ts-expect-error there is no such runner
const wronger: SlipwayProps = { runners: { arm64: 'pigeons' } };
export { wrong, wronger };
`;
    const check = join(path, `types-${resolution}`);
    mkdirSync(check);
    writeFileSync(join(check, 'app.ts'), use);
    const module = resolution === 'bundler' ? 'esnext' : resolution;
    const compilerOptions = { strict: true, noEmit: true, skipLibCheck: true, types: [], module, moduleResolution: resolution };
    writeFileSync(join(check, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['app.ts'] }));
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    await run(process.execPath, [compiler, '-p', check]).catch((error: Error & { readonly stdout: string }) => {
      throw new Error(`${error.message}\n${error.stdout}`);
    });
  });
});
