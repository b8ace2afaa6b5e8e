"""Memory of a process on a CPU: what it frees, it keeps."""

import ctypes
import pathlib

# glibc's mallopt(3): what is free beyond the one at the end of a heap goes back to the kernel; as
# many blocks as the other says may come from it for themselves, page by page, each time.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NO_BOUND = -1
_ACCELERATORS = ("accel*", "vfio/*", "nvidia*")  # in /dev


def keep() -> None:
    """Keeps freed memory in the process, on a host without accelerators where glibc is used.

    XLA:CPU allocates the temporaries of a program anew in every step. From 32 MiB on, glibc asks
    the kernel for them each time: measured on 2 cores for a step of 37 MiB, 9,500 page faults, and
    40 ms instead of 26; for one of 2.6 GiB, 676,000 and 9.8 s of processor time instead of 7.1. A
    thread's heap holds 64 MiB at most, the main thread's has no bound: it has to be the one that
    computes (`runtime.compute_here`). One heap for all threads made small steps slower.
    """
    if any(any(pathlib.Path("/dev").glob(name)) for name in _ACCELERATORS):
        return
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, _NO_BOUND)
