"""Memory of a process on a CPU: what it frees, it keeps."""

import ctypes
import pathlib

# glibc's mallopt(3): what is larger than the one comes from the kernel, page by page, each time;
# what is free beyond the other at the end of a heap goes back to it.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30  # bytes
_ACCELERATORS = ("accel*", "vfio/*", "nvidia*")  # in /dev


def keep() -> None:
    """Keeps freed memory in the process, on a host without accelerators where glibc is used.

    XLA:CPU allocates the temporaries of a program anew in every step. From 32 MiB on, glibc asks
    the kernel for them each time: measured on 2 cores for a step of 37 MiB, 9,500 page faults, and
    40 ms instead of 26. A heap of a thread holds 64 MiB at most: steps with more gain nothing (one
    heap for all threads, measured, made them no faster and smaller ones slower).
    """
    if any(any(pathlib.Path("/dev").glob(name)) for name in _ACCELERATORS):
        return
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _KEPT)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
