"""What a process sets up: compiled programs that outlive it, memory that it keeps."""

import platform
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import runtime
from seedasr_jax.parallel import memory

CODE = """
import sys, jax, jax.numpy as jnp
from seedasr_jax.launch import runtime
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
runtime.keep_programs(sys.argv[1])
runtime.keep_programs(sys.argv[1] + "-other")  # what is configured stays
print(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3))).sum())
"""


def test_programs_are_kept_once_for_this_processor(tmp_path):
    def programs():
        said = subprocess.run(
            [sys.executable, "-c", CODE, tmp_path / "cache"], capture_output=True, text=True
        )
        assert said.returncode == 0, said.stderr
        (folder,) = (tmp_path / "cache").iterdir()
        assert folder.name.startswith("programs-")
        return said.stdout, {p.name: p.stat().st_mtime_ns for p in folder.glob("*-cache")}

    first = programs()
    assert first[1]
    assert programs() == first
    assert not (tmp_path / "cache-other").exists()


MEMORY = """
import resource, sys, numpy as np
from seedasr_jax.launch import memory
if sys.argv[1] == "kept":
    memory.keep()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(64 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(code, how):
    """Of pages, by what a process prints."""
    command = [sys.executable, "-c", code, how]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_memory_that_is_freed_is_not_asked_for_again():
    assert faults(MEMORY, "kept") < 8
    assert faults(MEMORY, "left") >= 32  # pages of 2 MiB, or more of 4 KiB


TEMPORARY = """
import resource, sys, jax, jax.numpy as jnp
from seedasr_jax.launch import memory, runtime
if sys.argv[1] == "kept":
    memory.keep()
    runtime.compute_here()
program, x = jax.jit(lambda x: jnp.sin(x[:, None] * x[None]) @ x), jnp.ones(4_200)  # 67 MiB
found = []
for _ in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    program(x).block_until_ready()
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_large_temporaries_of_a_program_are_kept():
    """In most runs of a program: in some a small block has taken the place of the large one."""
    assert faults(TEMPORARY, "kept") < 8
    assert faults(TEMPORARY, "left") >= 32  # pages of 2 MiB, or more of 4 KiB


def test_a_pod_whose_processes_do_not_know_of_each_other_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 128)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=r"128 processes.*--processes=128.* 0 to 127$"):
        runtime.check_joined()
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    runtime.check_joined()


def test_the_memory_of_a_device_is_what_it_says_or_its_kind(monkeypatch):
    """All processes of a job take the least that any of them finds."""
    gib = memory.GIB

    def device(kind, limit=None):
        found = limit and {"bytes_limit": limit}
        return types.SimpleNamespace(device_kind=kind, memory_stats=lambda: found)

    monkeypatch.setattr(memory, "_agreed", {})
    assert memory.of(device("TPU v5", 7)) == 95 * gib  # as it is planned
    assert memory.of(device("NVIDIA H200", 105 * gib + 7)) == 105 * gib
    assert memory.of(device("NVIDIA H200")) == 140 * gib
    assert memory.of(device("cpu")) == memory.UNKNOWN == 16 * gib
    monkeypatch.setattr(jax, "local_devices", lambda: [device("NVIDIA H200", 105 * gib)])
    found = [np.array([105, 104, 106])]
    monkeypatch.setattr(memory.processes, "stacked", lambda own: found)
    memory.agree()
    assert memory.of(device("NVIDIA H200", 105 * gib)) == 104 * gib
