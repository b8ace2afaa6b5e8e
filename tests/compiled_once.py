"""`config.imports` for tests: a job compiles each program once, in process 0, and not N times.

JAX can share programs between processes. Its key takes in where a CPU process stands among the
others, which XLA:CPU's programs do not depend on: that is left out here. No layers are unrolled,
and garbage is collected seldom, as in conftest.py.
"""

import gc

import jax
from jax._src import cache_key

from seedasr_jax.models import layers

layers.UNROLLED = 1
gc.set_threshold(20_000, 20, 20)
cache_key._hash_accelerator_config = lambda hasher, devices: None
jax.config.update("jax_share_binary_between_hosts", True)
