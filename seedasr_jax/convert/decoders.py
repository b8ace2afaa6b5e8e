"""Decoders of transformers: Qwen3, Qwen3-MoE and Llama, as decoders of kind `transformer`.

Config keys and names of tensors: transformers 5.24, models/{qwen3,qwen3_moe,llama}. Both
generations of keys are read: rope_parameters and num_local_experts, or rope_theta, rope_scaling and
num_experts.
"""

from collections.abc import Mapping
import math
from typing import Any

from seedasr_jax import config
from seedasr_jax.convert.keys import Keys
from seedasr_jax.convert.layout import TRANSPOSED, Entry, Fused, Head, Rows
from seedasr_jax.errors import ConfigError
from seedasr_jax.models.names import DECODER

QWEN3, QWEN3_MOE, LLAMA = "Qwen3ForCausalLM", "Qwen3MoeForCausalLM", "LlamaForCausalLM"
ARCHITECTURES = (QWEN3, QWEN3_MOE, LLAMA)
PREFIX, HEAD = "model.", "lm_head.weight"  # of the names of tensors
FUSED = "mlp.experts.gate_up_proj"
# Buffers that older versions of transformers saved beside the weights.
IGNORED = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)

_BLOCK = f"{DECODER}.blocks.blocks"


def options(keys: Keys, architecture: str, tied: bool | None = None) -> tuple[dict[str, Any], int]:
    """Reads all keys of a decoder: `model.decoder`, and the number of positions it is made for.

    `tied`: whether embedding and head are one; None: as the keys say.

    Raises:
        ConfigError: a key is missing, unknown, or has a value that is not supported.
    """
    heads, width = keys.take("num_attention_heads"), keys.take("hidden_size")
    positions = keys.take("max_position_embeddings")
    experts = active = 0
    balance = 0.0
    ffn_dim = keys.take("intermediate_size")
    keys.expect("hidden_act", "silu")
    keys.expect("is_encoder_decoder", False)
    keys.expect("attention_bias", False)
    if architecture == LLAMA:
        keys.expect("mlp_bias", False)
        keys.expect("pretraining_tp", 1)  # another value sums in another order
    else:
        keys.expect("use_sliding_window", False)
        keys.ignore("sliding_window", "max_window_layers")
    if architecture == QWEN3_MOE:
        experts = keys.take("num_experts", also="num_local_experts")
        active, ffn_dim = keys.take("num_experts_per_tok"), keys.take("moe_intermediate_size")
        balance = keys.take("router_aux_loss_coef", float, 0.001)
        keys.expect("norm_topk_prob", True, absent=False)
        keys.expect("decoder_sparse_step", 1)
        keys.expect("mlp_only_layers", [])
        keys.ignore("output_router_logits")
    layers = keys.take("num_hidden_layers")
    keys.expect("layer_types", ["full_attention"] * layers)
    theta, scaling = _rope(keys, positions)
    own = keys.take("tie_word_embeddings", bool, False)
    size = 128 if architecture == QWEN3 else width // heads  # transformers' defaults
    found = dict(
        kind="transformer",
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=keys.take("num_key_value_heads", default=heads),
        head_dim=keys.take("head_dim", default=size),
        ffn_dim=ffn_dim,
        moe=dict(experts=experts, active=active, balance=balance, z=0.0),
        vocabulary=keys.take("vocab_size"),
        qk_norm=architecture != LLAMA,
        tied=own if tied is None else tied,
        rope_theta=theta,
        rope_scaling=scaling,
        norm_eps=keys.take("rms_norm_eps", float, 1e-6),
        embed_scale=1.0,
    )
    keys.finish()
    return found, positions


def _rope(keys, positions):
    """theta and `rope_scaling`; defaults are inferred as in modeling_rope_utils.py."""
    theta = keys.take("rope_theta", float, None)
    given = keys.group("rope_parameters", also="rope_scaling")
    theta = given.take("rope_theta", float, 10_000.0 if theta is None else theta)
    kind = given.take("rope_type", str, "default", also="type")
    given.expect("partial_rotary_factor", 1)
    original = given.take("original_max_position_embeddings", default=positions)
    if kind == "default":
        scaling: dict[str, Any] = dict(kind="none")
    elif kind == "linear":
        scaling = dict(kind="linear", factor=given.take("factor", float))
    elif kind == "llama3":
        low, high = given.take("low_freq_factor", float), given.take("high_freq_factor", float)
        factor = given.take("factor", float)
        scaling = dict(kind="llama3", factor=factor, low=low, high=high, positions=original)
    elif kind == "yarn":
        factor = given.take("factor", float, positions / original)
        scaling = dict(
            kind="yarn",
            factor=factor,
            fast=given.take("beta_fast", float, 32.0),
            slow=given.take("beta_slow", float, 1.0),
            positions=original,
            truncate=given.take("truncate", bool, True),
            magnitude=_magnitude(given, factor),
        )
    else:
        known = "default, linear, llama3 or yarn"
        raise ConfigError(f"{given.where}: rope_type = {kind!r} is not supported: only {known} is")
    given.finish()
    return theta, scaling


def _magnitude(given, factor):
    def of(scale):
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    over, under = given.take("mscale", float, 0.0), given.take("mscale_all_dim", float, 0.0)
    inferred = of(over) / of(under) if over and under else of(1.0)
    return given.take("attention_factor", float, inferred)


def entries(decoder: config.Transformer, *, prefix=PREFIX, head=HEAD, fused=False) -> tuple:
    """The table of a decoder.

    `prefix`, `head`: of the names of its tensors, and its head's name; `fused`: whether experts are
    stored in one tensor, as transformers 5 saves models that it made, or each by itself.
    """
    theirs = prefix + "layers.{layer}."
    rows, feedforward = decoder.vocabulary, "mlp."

    def block(name, ours, form=TRANSPOSED):
        return Entry(f"{_BLOCK}.{ours}", f"{theirs}{name}.weight", form)

    same = dict(form=Entry.form)
    found = [
        Entry(f"{DECODER}.embed.table", f"{prefix}embed_tokens.weight", Rows(rows)),
        Entry(f"{DECODER}.norm.scale", f"{prefix}norm.weight"),
        block("input_layernorm", "attention_norm.scale", **same),
        block("post_attention_layernorm", "feedforward_norm.scale", **same),
        block("self_attn.q_proj", "attention.query.kernel"),
        block("self_attn.k_proj", "attention.key.kernel"),
        block("self_attn.v_proj", "attention.value.kernel"),
        block("self_attn.o_proj", "attention.out.kernel"),
    ]
    if decoder.qk_norm:
        found.append(block("self_attn.q_norm", "attention.query_norm.scale", **same))
        found.append(block("self_attn.k_norm", "attention.key_norm.scale", **same))
    kernel = "kernel"
    if decoder.moe.experts:
        found.append(block("mlp.gate", "feedforward.router.kernel"))
        feedforward, kernel = "mlp.experts.{expert}.", "kernels"
    if decoder.moe.experts and fused:
        gate_up, ours = f"{theirs}{FUSED}", f"{_BLOCK}.feedforward"
        for number, one in enumerate(("gate", "up")):
            found.append(Entry(f"{ours}.{one}.kernels", gate_up, Fused(number, 2)))
        found.append(Entry(f"{ours}.down.kernels", f"{theirs}mlp.experts.down_proj", Fused()))
    else:
        for one in ("gate", "up", "down"):
            found.append(block(f"{feedforward}{one}_proj", f"feedforward.{one}.{kernel}"))
    if not decoder.tied:
        found.append(Entry(f"{DECODER}.head.kernel", head, Head(rows)))
    return tuple(found)


def generation(settings: Mapping, fallback: Mapping) -> tuple[int, ...]:
    """Ids of the end tokens by generation_config.json, else by config.json; () if not stated."""
    found = settings.get("eos_token_id", fallback.get("eos_token_id"))
    found = found if isinstance(found, list | tuple) else [found]
    return tuple(one for one in found if isinstance(one, int))
