"""Two-way table of names between transformers' Qwen3 or Llama and our decoder.

Dims: L layers, V vocabulary, E width.
"""

from flax import nnx
import jax.numpy as jnp
import numpy as np

# Their name (* is the layer), our path, whether the matrix is transposed.
_BLOCK, _OURS = "model.layers.*", "blocks/blocks"
TABLE = (
    ("model.embed_tokens.weight", "embed/table", False),
    ("model.norm.weight", "norm/scale", False),
    ("lm_head.weight", "head/kernel", True),
    (f"{_BLOCK}.input_layernorm.weight", f"{_OURS}/attention_norm/scale", False),
    (f"{_BLOCK}.self_attn.q_proj.weight", f"{_OURS}/attention/query/kernel", True),
    (f"{_BLOCK}.self_attn.k_proj.weight", f"{_OURS}/attention/key/kernel", True),
    (f"{_BLOCK}.self_attn.v_proj.weight", f"{_OURS}/attention/value/kernel", True),
    (f"{_BLOCK}.self_attn.o_proj.weight", f"{_OURS}/attention/out/kernel", True),
    (f"{_BLOCK}.self_attn.q_norm.weight", f"{_OURS}/attention/query_norm/scale", False),
    (f"{_BLOCK}.self_attn.k_norm.weight", f"{_OURS}/attention/key_norm/scale", False),
    (f"{_BLOCK}.post_attention_layernorm.weight", f"{_OURS}/feedforward_norm/scale", False),
    (f"{_BLOCK}.mlp.gate_proj.weight", f"{_OURS}/feedforward/gate/kernel", True),
    (f"{_BLOCK}.mlp.up_proj.weight", f"{_OURS}/feedforward/up/kernel", True),
    (f"{_BLOCK}.mlp.down_proj.weight", f"{_OURS}/feedforward/down/kernel", True),
)
_VOCABULARY_AXIS = {"embed/table": 0, "head/kernel": 1}  # padded in ours


def into(decoder, weights):
    """Our decoder with their weights, a dict name -> array; every tensor must find its place."""
    graphdef, state = nnx.split(decoder)
    used = set()

    def fill(path, param):
        ours = "/".join(str(key) for key in path)
        ((theirs, _, transposed),) = [row for row in TABLE if row[1] == ours]
        names = [theirs]
        if "*" in theirs:
            names = [theirs.replace("*", str(i)) for i in range(decoder.config.layers)]
        used.update(names)
        tensors = [weights[name].T if transposed else weights[name] for name in names]
        value = np.stack(tensors) if "*" in theirs else tensors[0]
        if ours in _VOCABULARY_AXIS:
            axis = _VOCABULARY_AXIS[ours]
            wanted = [(0, 0)] * value.ndim
            wanted[axis] = (0, param.shape[axis] - value.shape[axis])
            value = np.pad(value, wanted)
        assert value.shape == param.shape, (ours, value.shape, param.shape)
        return param.replace(jnp.asarray(value))

    state = nnx.map_state(fill, state)
    assert used == set(weights), used ^ set(weights)
    return nnx.merge(graphdef, state)


def out_of(decoder):
    """Our weights under their names."""
    weights = {}
    for path, param in nnx.to_flat_state(nnx.state(decoder)):
        ours, value = "/".join(str(key) for key in path), np.asarray(param[...])
        ((theirs, _, transposed),) = [row for row in TABLE if row[1] == ours]
        if ours in _VOCABULARY_AXIS:
            value = value.take(range(decoder.vocabulary), _VOCABULARY_AXIS[ours])
        for i in range(decoder.config.layers if "*" in theirs else 1):
            one = value[i] if "*" in theirs else value
            weights[theirs.replace("*", str(i))] = one.T if transposed else one
    return weights
