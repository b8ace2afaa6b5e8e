"""A process whose rows of a batch are no neighbours, as on a pod: decodes, and prints what it got.

python tests/interleaved.py HOST:PORT INDEX
"""

import sys

from flax import nnx
import jax

if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))

    import numpy as np
    import test_decode_program
    import tiny

    from seedasr_jax.decode.recogniser import Recogniser
    from seedasr_jax.parallel import mesh as meshes

    devices = np.array(jax.devices())[[0, 2, 1, 3]].reshape(1, 4, 1, 1)
    mesh = jax.sharding.Mesh(devices, meshes.AXES, axis_types=(jax.sharding.AxisType.Auto,) * 4)
    parts = ("encoder", "ctc_head")
    model = tiny.model(parts)
    graphdef, state = nnx.split(model)
    state = jax.tree.map(np.asarray, state)
    words = test_decode_program.Words()
    recogniser = Recogniser(graphdef, state, words, model.config, parts, mesh)
    first = 4 * jax.process_index()
    own = jax.tree.map(lambda x: x[first : first + 4], tiny.batch(8))
    print([hypothesis.tokens for hypothesis in recogniser.decode(own, "ctc")])
