// What a home is made of, as the control API sees it. local/home.ts and functions/api build one.
import type { BuildService, ContextService } from '../build/service.ts';
import type { Remotes } from '../client/remotes.ts';
import type { ArchiveObjects } from '../context/archive-object.ts';
import type { Blobs } from '../store/blobs.ts';
import type { Catalog } from '../store/catalog.ts';
import type { Table } from '../store/table.ts';
import type { TransferService } from '../transfer/service.ts';
import type { ApiGuard } from './access.ts';

export interface ApiParts {
  /** What others write before the first slash in the names of this home's images. Absent: it is no registry that others reach. */
  readonly host?: string;
  /** Bytes of one request and of one answer, where a gateway that hands them on whole is in front. Absent: they are streams. */
  readonly limits?: { readonly request: number; readonly answer: number };
  readonly blobs: Blobs;
  readonly table: Table;
  readonly catalog: Catalog;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Other registries; opened at the first use. */
  remotes(): Promise<Remotes>;
  /** Builds; opened at the first use. */
  builds(): Promise<BuildService>;
  /** Pulls and pushes that are carried out elsewhere; opened at the first use. Absent: they are done while their request lasts. */
  transfers?(): Promise<TransferService>;
  /** Archives in the home's own bucket, to be built from. Absent: there is none. */
  readonly archives?: ArchiveObjects;
  /** Contexts that travel; opened at the first use. */
  contexts(): Promise<ContextService>;
  /** Called after images were removed: what this home made of layers that are not stored any more can go. */
  tidy?(): Promise<void>;
  /**
   * Whether work is under way that may rely on blobs it has not written down yet, such as a build that found layers in the cache. What is
   * removed then loses its names at once, and its blobs by a collection.
   */
  atWork?(): Promise<boolean>;
  /**
   * Says, until disposed, that a request is at work that relies on blobs which it found and has not written down yet: a pull, a load.
   * Absent where nothing removes blobs at once.
   */
  working?(): Disposable;
}

/** Who speaks to the API. */
export interface ApiTrust {
  /** Who may call, and what. Absent: whoever reaches the API may do everything. */
  readonly guard?: ApiGuard;
  /**
   * The caller is a user of this very machine (the command line, in process): requests may name its directories. A server never says so:
   * a client could have any file of the server put into an image.
   */
  readonly sameMachine: boolean;
}
