"""Memory of a process on CPUs: the allocator keeps freed memory."""

import ctypes
import pathlib

# Parameters of glibc's mallopt(3): the free memory at the end of a heap above which it is returned
# to the kernel, and the number of blocks that may be mapped by the kernel, each time anew.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NO_BOUND = -1
_ACCELERATORS = ("accel*", "vfio/*", "nvidia*")  # in /dev


def keep() -> None:
    """Keeps freed memory in the process; needs glibc and a host without accelerators.

    XLA:CPU allocates a program's temporaries anew in every step, and glibc maps those of 32 MiB or
    more anew each time. Measured on 2 cores: a step of 37 MiB has 9,500 page faults and takes 40 ms
    instead of 26; one of 2.6 GiB, 676,000 and 9.8 s of CPU time instead of 7.1. A thread's heap is
    limited to 64 MiB, except the main thread's, which therefore must compute
    (`runtime.compute_here`). One heap for all threads made small steps slower.
    """
    if any(any(pathlib.Path("/dev").glob(name)) for name in _ACCELERATORS):
        return
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, _NO_BOUND)
