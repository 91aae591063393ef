// How one command runs in a root filesystem, apart from the machine around it. Drivers: util-linux.ts, oci-runtime.ts (runc, crun),
// scripted (test/support, for the executor's tests).
import type { Options } from '../store/blobs.ts';

export type Root =
  /** Overlay of unpacked layers, bottom first; writes go to `upper`, which afterwards *is* the change set. `work` is on the same filesystem. */
  | { readonly kind: 'overlay'; readonly lowers: readonly string[]; readonly upper: string; readonly work: string }
  /** An existing tree, written in place. */
  | { readonly kind: 'tree'; readonly path: string };

export type SandboxMount =
  | { readonly kind: 'bind'; readonly source: string; readonly target: string; readonly readonly: boolean }
  | { readonly kind: 'tmpfs'; readonly target: string; readonly size?: number; readonly mode?: number };

export interface RunUser {
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups. */
  readonly groups: readonly number[];
}

export interface RunSpec {
  readonly root: Root;
  /** The words of the command; [0] is looked up in PATH of `env`, inside the root. */
  readonly args: readonly string[];
  /** `NAME=value`. */
  readonly env: readonly string[];
  /** Absolute; made (0755, root) when missing. */
  readonly cwd: string;
  readonly user: RunUser;
  readonly hostname?: string;
  /** `none` really has no network but a loopback that is up; `host` shares the machine's. */
  readonly network: 'host' | 'none';
  /** Lines for /etc/hosts beyond localhost and the hostname: `[name, address]`. */
  readonly hosts?: readonly (readonly [string, string])[];
  readonly mounts?: readonly SandboxMount[];
  /**
   * The process's streams. `terminal`: one of its own, joined to the caller's, which must be one; a shell in it has job control, and
   * nothing in it can type into the caller's. Without `stdin` it sees end of file.
   */
  readonly stdio:
    | { readonly kind: 'terminal' }
    | {
        readonly kind: 'pipe';
        readonly stdin?: ReadableStream<Uint8Array>;
        /** Called in order; awaited, so a slow sink slows the process down. */
        readonly onOutput: (stream: 'stdout' | 'stderr', chunk: Uint8Array) => void | Promise<void>;
      };
}

export interface RunResult {
  /** The command's own code; 128 + n when signal n ended it; 127 not found; 126 not executable. */
  readonly exitCode: number;
  /** Set for 126 and 127 when the command never started: what the runtime said. */
  readonly notStarted?: string;
  /** Set when the machine had a part in the failure: what to do about it. */
  readonly hint?: string;
}

export interface RunOptions extends Options {
  /** Called when the command is about to start, with what sends it a signal (to its first process, which is deaf to what it does not handle). */
  readonly started?: (send: (signal: NodeJS.Signals) => void) => void;
}

export interface Sandbox {
  readonly name: string;
  /**
   * Runs to the end. Afterwards every process of the command is dead and nothing stays mounted, however it ended; /proc, /dev, /sys,
   * resolv.conf and hosts were provided to it and are not in `upper`. CANCELLED when the signal fires; SANDBOX when the machine fails,
   * STEP_FAILED when the root is such that nothing can run in it.
   */
  run(spec: RunSpec, options?: RunOptions): Promise<RunResult>;
}
