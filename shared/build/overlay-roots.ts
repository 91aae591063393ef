// RunRoots on this machine: unpacked layers stacked by overlayfs, a scratch directory a step.
