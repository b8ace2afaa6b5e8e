"""What a process sets up once, before it computes."""

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


def _processor() -> str:
    """Short hash of the model and features of this machine's processors."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return "any"
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]
