// What the registry is made of. shared/registry/node-server.ts and the account's functions pass it in.
import type { Blobs } from '../store/blobs.ts';
import type { Catalog } from '../store/catalog.ts';
import type { Call, Reply } from './exchange.ts';

export interface RegistryParts {
  readonly blobs: Blobs;
  readonly catalog: Catalog;
  /** Asked before anything else; an answer refuses the call. Absent: everyone may do everything. */
  readonly guard?: (call: Call) => Promise<Reply | undefined> | Reply | undefined;
  /** Whether the caller may read `from`, a repository it wants to mount a blob of. Absent: it may. Where not, it is told to upload. */
  readonly mayMount?: (call: Call, from: string) => Promise<boolean> | boolean;
  /**
   * True lets a client mount a stored blob by its digest alone, without naming a repository that it can read. Right only where every
   * caller may read everything.
   */
  readonly openMount?: boolean;
  /** The Location of an upload, where another host goes on with it (upload-host.ts). Absent: this one does. */
  readonly uploadLocation?: (repository: string, id: string) => string;
  /** Put before the path of a blob's Location, where that is at another host. */
  readonly blobHost?: string;
  /** Bytes that one request may bring, where something in front has a limit: told to clients as OCI-Chunk-Max-Length. */
  readonly chunkLimit?: number;
  /** Seconds that a link to a blob in the store lives. 900 when absent. */
  readonly linkSeconds?: number;
  /** Bytes of manifests kept in memory. 64 MiB when absent. */
  readonly manifestMemory?: number;
  /** A request id: what a client is told of a fault, and what the report says. */
  readonly requestId: () => string;
  /** Told of every fault of our own (5xx). */
  readonly onFault?: (fault: { readonly requestId: string; readonly call: Call; readonly error: unknown }) => void;
}
