// System calls refused under runc and crun: those that Docker documents as blocked by its default profile
// (docs.docker.com/engine/security/seccomp). A list of what is refused, not of what is allowed: a call younger than this list passes, where
// Docker's own would stop it; in exchange no program breaks because it uses a new harmless one.

const refusedCalls = [
  ...[
    'acct',
    'add_key',
    'bpf',
    'clock_adjtime',
    'clock_settime',
    'create_module',
    'delete_module',
    'finit_module',
    'fsconfig',
    'fsmount',
  ],
  ...[
    'fsopen',
    'fspick',
    'get_kernel_syms',
    'get_mempolicy',
    'init_module',
    'io_uring_enter',
    'io_uring_register',
    'io_uring_setup',
  ],
  ...['ioperm', 'iopl', 'kcmp', 'kexec_file_load', 'kexec_load', 'keyctl', 'lookup_dcookie', 'mbind', 'migrate_pages', 'mount'],
  ...[
    'mount_setattr',
    'move_mount',
    'move_pages',
    'nfsservctl',
    'open_by_handle_at',
    'open_tree',
    'perf_event_open',
    'pivot_root',
  ],
  ...[
    'query_module',
    'quotactl',
    'quotactl_fd',
    'reboot',
    'request_key',
    'set_mempolicy',
    'setns',
    'settimeofday',
    'stime',
    'swapoff',
  ],
  ...[
    'swapon',
    '_sysctl',
    'sysfs',
    'syslog',
    'umount',
    'umount2',
    'unshare',
    'uselib',
    'userfaultfd',
    'ustat',
    'vhangup',
    'vm86',
    'vm86old',
  ],
] as const;

/** CLONE_NEW* of sched.h: cgroup, uts, ipc, user, pid, net, mount. */
const namespaceFlags = [0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x00020000];
const [EPERM, ENOSYS] = [1, 38];

export const seccompProfile = {
  defaultAction: 'SCMP_ACT_ALLOW',
  // The other ABIs of a kernel are no way around.
  architectures: { x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'], arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'] }[
    process.arch as 'x64' | 'arm64'
  ],
  syscalls: [
    { names: refusedCalls, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM },
    // Its flags are behind a pointer, where a filter cannot look: libraries then fall back to clone, where it can.
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
    ...namespaceFlags.map((flag) => ({
      names: ['clone'],
      action: 'SCMP_ACT_ERRNO',
      errnoRet: EPERM,
      args: [{ index: 0, value: flag, valueTwo: flag, op: 'SCMP_CMP_MASKED_EQ' }],
    })),
  ],
};
