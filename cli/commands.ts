// The list of commands: what `slipway --help` shows without loading any of them, and the two-word forms that docker's users type.
import type { Command, Options } from './command.ts';

export interface Listed {
  readonly summary: string;
  readonly load: () => Promise<{ readonly command: Command<Options> }>;
}

/** Loses the option types, which only `run` needs. */
// biome-ignore lint/suspicious/noExplicitAny: a Command<O> is not a Command<Options>, because `run` takes O; main.ts passes it what `parse` made from the same O.
const listed = (summary: string, load: () => Promise<{ readonly command: any }>): Listed => ({ summary, load });

export const commands: Readonly<Record<string, Listed>> = {
  build: listed('Build an image from a Dockerfile', () => import('./commands/build.ts')),
  'builds cancel': listed('Stop builds of a home elsewhere', () => import('./commands/builds-cancel.ts')),
  'builds inspect': listed(
    'Show everything known about builds of a home elsewhere, as JSON',
    () => import('./commands/builds-inspect.ts'),
  ),
  'builds logs': listed('Show the log of a build of a home elsewhere', () => import('./commands/builds-logs.ts')),
  'builds ls': listed('List the builds of a home elsewhere', () => import('./commands/builds-ls.ts')),
  'context create': listed('Name an endpoint', () => import('./commands/context-create.ts')),
  'context inspect': listed('Show what is known of contexts, as JSON', () => import('./commands/context-inspect.ts')),
  'context ls': listed('List contexts: the homes that commands can work with', () => import('./commands/context-ls.ts')),
  'context rm': listed('Forget contexts', () => import('./commands/context-rm.ts')),
  'context show': listed('Print the name of the context in use', () => import('./commands/context-show.ts')),
  'context use': listed('Choose the context that commands work with', () => import('./commands/context-use.ts')),
  doctor: listed('Say what this machine can do and what to install', () => import('./commands/doctor.ts')),
  history: listed('Show how an image was made, layer by layer', () => import('./commands/history.ts')),
  'image prune': listed('Remove images without a name', () => import('./commands/image-prune.ts')),
  images: listed('List images', () => import('./commands/images.ts')),
  import: listed('Make an image of a root filesystem', () => import('./commands/import.ts')),
  inspect: listed('Show everything known about images, as JSON', () => import('./commands/inspect.ts')),
  load: listed('Load images from an archive', () => import('./commands/load.ts')),
  login: listed('Log in to a registry or an endpoint', () => import('./commands/login.ts')),
  logout: listed('Forget the login of a registry or an endpoint', () => import('./commands/logout.ts')),
  pull: listed('Download an image from a registry', () => import('./commands/pull.ts')),
  push: listed('Upload an image to a registry', () => import('./commands/push.ts')),
  rm: listed('Remove images', () => import('./commands/rm.ts')),
  save: listed('Save images to an archive', () => import('./commands/save.ts')),
  serve: listed('Serve the images of this home as a registry', () => import('./commands/serve.ts')),
  'system prune': listed('Free everything in the home that is not needed', () => import('./commands/system-prune.ts')),
  tag: listed('Give an image another name', () => import('./commands/tag.ts')),
  run: listed('Run a command in an image', () => import('./commands/run.ts')),
  version: listed('Show the Slipway version information', () => import('./commands/version.ts')),
};

/** Spellings of two and three words, and others, docker's own, to the command they mean. */
export const spellings: Readonly<Record<string, string>> = {
  'image build': 'build',
  'builder build': 'build',
  'buildx build': 'build',
  'image ls': 'images',
  'image list': 'images',
  'image pull': 'pull',
  'image push': 'push',
  'image tag': 'tag',
  'image rm': 'rm',
  'image remove': 'rm',
  rmi: 'rm',
  'image load': 'load',
  'image save': 'save',
  'image import': 'import',
  'image inspect': 'inspect',
  'image history': 'history',
  'container run': 'run',
  'context list': 'context ls',
  'context remove': 'context rm',
  'context add': 'context create',
  'builds list': 'builds ls',
  'builds stop': 'builds cancel',
  'buildx history ls': 'builds ls',
  'buildx history inspect': 'builds inspect',
  'buildx history logs': 'builds logs',
};
