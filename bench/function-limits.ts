// What the functions of a pull may weigh and hold: a cold start is the price of everything in them.

/** The functions that a pull waits for. */
export const pulling = ['authorizer', 'registry'] as const;

/** Bytes of their handler.js. */
export const bytesLimit = 1.5e6;

/** Sources that a pull has no use for: one of them in a function of a pull is a mistake. What projects are called is a part of tokens. */
const foreign =
  /node_modules\/(?:zod|hono|xz-decompress|@aws-sdk\/client-(?!dynamodb\/|s3\/|secrets-manager\/)[^/]+)\/|^shared\/(?:api|archive|build|client|collection|container|context(?!\/project\.ts$)|dockerfile|image|layer|sandbox|tar|workflow)\//;

/** What is wrong with such a function, in words; nothing when all is well. `files`: bytes by source file. */
export function complaints(name: string, bytes: number, files: ReadonlyMap<string, number>): readonly string[] {
  if (!(pulling as readonly string[]).includes(name)) return [];
  const odd = [...files].filter(([file, inBundle]) => inBundle > 0 && foreign.test(file)).map(([file]) => file);
  return [
    ...(bytes > bytesLimit ? [`${name} has ${bytes} bytes, more than ${bytesLimit}`] : []),
    ...odd.map((file) => `${name} holds ${file}, which no pull needs`),
  ];
}
