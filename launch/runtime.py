"""What a process sets up once, before it computes."""

import ctypes
import hashlib
import pathlib

import jax


def keep_programs(cache) -> None:
    """Keeps compiled programs below `cache`, so that a restart does not compile them again.

    A cache that is configured already stays. Programs for a CPU may use what this one has and
    another has not, so each model of processor has a folder of its own.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = pathlib.Path(cache, f"programs-{_processor()}").resolve()
        jax.config.update("jax_compilation_cache_dir", str(folder))


# glibc's mallopt(3): what is larger than the one comes from the kernel, page by page, each time;
# what is free beyond the other at the end of the heap goes back to it.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30  # bytes


def keep_memory() -> None:
    """Keeps freed memory in the process, where programs run on a CPU and the C library is glibc.

    XLA:CPU allocates the temporaries of a program anew in every step. From 32 MiB on, glibc asks
    the kernel for them each time: measured for a step of 37 MiB, 9,500 page faults and 19 of its
    55 ms.
    """
    if jax.default_backend() == "cpu" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _KEPT)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)


def _processor() -> str:
    """Short hash of the model and features of this machine's processors."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return "any"
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]
