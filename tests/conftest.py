"""Hostile settings for every test: silent broadcasting raises, our own warnings are errors.

Eight fake devices, so that every test may shard. `--parity` adds the tests that need PyTorch.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_use_fusion_emitters=false",  # compiles in a third of the time
    ]
).strip()

import jax  # noqa: E402  (the flags above are read when it starts)

PARITY = "test_parity.py"


def pytest_addoption(parser):
    """Adds --parity."""
    parser.addoption(
        "--parity",
        action="store_true",
        help="also compare with PyTorch and transformers, which must be installed (extra: parity)",
    )


def pytest_configure(config):
    """Settings of JAX and of warnings."""
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_disable_most_optimizations", True)  # compiling is most of a test's time
    jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    config.addinivalue_line("filterwarnings", r"error:::seedasr_jax(\.|$)")
    config.addinivalue_line("markers", "parity: compares with a live PyTorch; see --parity")


def pytest_ignore_collect(collection_path, config):
    """Leaves the parity tests out unless asked for: they import PyTorch."""
    if collection_path.name == PARITY and not config.getoption("parity"):
        return True
    return None
