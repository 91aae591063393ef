// Whether this process compresses like the Node that Slipway is released with. Another zlib gives the same contents other compressed bytes,
// so other layer digests than the embedded home's: nothing fails for it, which is why it is said.
import type { Warning } from '../build/plan.ts';
import type { SourceRange } from '../errors.ts';
import { codecVersion, defaultLevel } from '../layer/member-codec.ts';

/** zlib of the project's Node, written by infra/program-bundle.ts; in a checkout there is none. */
declare const SLIPWAY_ZLIB: string | undefined;

/** `codecVersion` of this process for the layers of a build. */
export const ownCodec = (): string => codecVersion('gzip', defaultLevel.gzip);

/** That of the Node that this program was bundled for, which is the embedded home's; in a checkout this process's own. */
export const homeCodec = (): string =>
  typeof SLIPWAY_ZLIB === 'string' ? `gzip-${defaultLevel.gzip}-zlib-${SLIPWAY_ZLIB}` : ownCodec();

export interface Codecs {
  /** Of who compresses. */
  readonly own: string;
  /** Of the embedded home. */
  readonly home: string;
}

export const codecRule = 'CompressionDiffers';
export const codecUrl = 'https://www.npmjs.com/package/node';

/** What to tell of a difference, or undefined where there is none. */
export function codecWarning(where: 'runner' | 'function', { own, home }: Codecs, at: SourceRange): Warning | undefined {
  if (own === home) return undefined;
  const [who, layers, cure] =
    where === 'runner'
      ? ['the runner', 'layers of RUN', 'let functions/runner/install-node.sh choose its Node']
      : ['this function', 'layers of COPY, ADD and WORKDIR', 'use a release of Slipway whose Node has the zlib of Lambda’s'];
  return {
    rule: codecRule,
    message: `${who} compresses with ${own}, the embedded home with ${home}: ${layers} have the same contents but other compressed digests than there; ${cure}, and deploy again`,
    where: at,
    url: codecUrl,
  };
}
