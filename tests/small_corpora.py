"""`config.imports` for tests: corpora that are made on the spot are a tenth of what they are.

Of what `commands` promises of all its sentences test_commands.py asks the plan, without sound.
"""

import functools

from seedasr_jax.data_pipelines.synth import commands, digits

commands.prepare = functools.partial(commands.prepare, scale=0.1)
digits.prepare = functools.partial(digits.prepare, train=120, dev=6, test=10)
