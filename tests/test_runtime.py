"""What a process sets up: compiled programs that outlive it."""

import subprocess
import sys

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
