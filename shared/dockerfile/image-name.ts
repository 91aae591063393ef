// Whether a word can be the name of an image, so that FROM can point at its own mistake. Grammar: distribution/reference.

const domain =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/;
const component = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tag = /^[\w][\w.-]{0,127}$/;
const digest = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;

const invalid = 'invalid reference format';

/** Docker's words for what is wrong with `name`, or undefined when nothing is. */
export function imageNameProblem(name: string): string | undefined {
  if (name.length > 1024) return invalid;
  if (/^[a-f0-9]{64}$/.test(name)) return `invalid repository name (${name}), cannot specify 64-byte hexadecimal strings`;
  const at = name.indexOf('@');
  if (at >= 0 && !digest.test(name.slice(at + 1))) return invalid;
  const tagged = at < 0 ? name : name.slice(0, at);
  const slash = tagged.lastIndexOf('/');
  const colon = tagged.indexOf(':', slash + 1);
  if (colon >= 0 && !tag.test(tagged.slice(colon + 1))) return invalid;
  const path = colon < 0 ? tagged : tagged.slice(0, colon);
  const [first, ...rest] = path.split('/');
  const hasHost = rest.length > 0 && (/[.:]/.test(first!) || first === 'localhost' || first !== first!.toLowerCase());
  if (hasHost && !domain.test(first!)) return invalid;
  const repository = hasHost ? rest.join('/') : path;
  if (repository !== repository.toLowerCase()) {
    const full = hasHost || rest.length > 0 ? repository : `library/${repository}`;
    return `${invalid}: repository name (${full}) must be lowercase`;
  }
  if (!repository.split('/').every((part) => component.test(part))) return invalid;
  return repository.length > 255 ? 'repository name must not be more than 255 characters' : undefined;
}
