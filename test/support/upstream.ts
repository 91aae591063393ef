// Another registry for the client's tests: ours in memory behind a real server on loopback, with a hook that may answer, spoil or cut
// any call first.

import type { Credentials } from '../../shared/auth/credentials.ts';
import { HttpClient, type HttpOptions } from '../../shared/client/http.ts';
import { RegistryClient } from '../../shared/client/registry-client.ts';
import type { Call, Handler, Reply } from '../../shared/registry/exchange.ts';
import { startServer } from '../../shared/registry/node-server.ts';
import { type TestRegistry, testRegistry } from './registry-client.ts';

export type Hook = (call: Call, next: Handler) => Promise<Reply> | Reply;

export interface Upstream extends AsyncDisposable, TestRegistry {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** `METHOD /path` of every call so far, the query left out. */
  readonly calls: string[];
  hook: Hook | undefined;
  readonly client: RegistryClient;
  /** Milliseconds the client wanted to wait, which it did not. */
  readonly waits: number[];
}

export async function startUpstream(options: { credentials?: Credentials; http?: Partial<HttpOptions> } = {}): Promise<Upstream> {
  const registry = testRegistry();
  const calls: string[] = [];
  const waits: number[] = [];
  const state: { hook: Hook | undefined } = { hook: undefined };
  const handle: Handler = async (call) => {
    calls.push(`${call.method} ${call.path}`);
    return state.hook === undefined ? registry.registry.handle(call) : state.hook(call, registry.registry.handle);
  };
  const server = await startServer({ handle, host: '127.0.0.1', port: 0 });
  const http = new HttpClient({
    userAgent: 'test',
    sleep: async (milliseconds) => {
      waits.push(milliseconds);
    },
    random: () => 0.5,
    ...options.http,
  });
  const host = `127.0.0.1:${server.port}`;
  const client = new RegistryClient({
    http,
    host,
    insecure: false,
    now: () => Date.now(),
    credentials: async () => options.credentials,
  });
  return {
    ...registry,
    host,
    calls,
    waits,
    client,
    get hook() {
      return state.hook;
    },
    set hook(hook: Hook | undefined) {
      state.hook = hook;
    },
    [Symbol.asyncDispose]: async () => {
      http[Symbol.dispose]();
      await server.stop(0);
    },
  };
}

/** A body that breaks off after `bytes` of `whole`, though its length was announced. */
export function cutOff(whole: Uint8Array, bytes: number): Reply['body'] {
  return {
    size: whole.length,
    open: async () => {
      let sent = false;
      return new ReadableStream<Uint8Array>({
        pull(controller) {
          if (sent) controller.error(new Error('cut off by the test'));
          else controller.enqueue(whole.subarray(0, bytes));
          sent = true;
        },
      });
    },
  };
}
