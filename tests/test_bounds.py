"""Bounds of a config's fields: values without a meaning are refused by their key."""

import dataclasses
import math
import re

import pytest
from two_stages import fails, recipe

from seedasr_jax import config
from seedasr_jax.audio import logmel
from seedasr_jax.models import layers
from seedasr_jax.text import score, vocab_training

OUTSIDE = {  # key of a stage -> values that mean nothing
    "steps": (0, -5, 2**31),
    "seed": (-1, 2**40),
    "optim.lr": (-1e-2, 0.0, math.inf, math.nan, 1e39, 1e-39),
    "optim.warmup": (-5, 201),
    "optim.final": (7.0, -0.1),
    "optim.b1": (1.5, 1.0, -0.1, 0.9951),  # beside b2 = 0.98
    "optim.b2": (2.0, 1.0),
    "optim.eps": (-1.0, 0.0, 1e9, 1e-39),
    "optim.weight_decay": (-50.0, 1e4),
    "optim.clip": (-1.0, math.inf),
    "optim.rates.encoder": (-1.0, math.nan),
    "optim.name": ("adam",),
    "optim.decay": ("cosin",),
    "model.dtype": ("bf16", "int32", "float16"),
    "model.encoder.frontend.mels": (0, -1, 243),
    "model.encoder.frontend.low_hz": (9000.0, -1.0, 7600.0),
    "model.encoder.frontend.high_hz": (8001.0,),
    "model.encoder.frontend.floor": (-1.0, 0.0, 2.0, 1e-39),
    "model.encoder.frontend.norm": ("bins",),
    "model.encoder.layers": (0, -1),
    "model.encoder.width": (-64, 0, 511),
    "model.encoder.heads": (5, 0),
    "model.encoder.subsampling": (0, 3),
    "model.encoder.kernel": (0, 10**9),
    "model.encoder.clip": (-1,),
    "model.encoder.dropout": (1.5, -0.5, 1.0),
    "model.quantizer.codes": (0,),
    "model.quantizer.layer": (-1,),
    "model.converter.splice": (0,),
    "model.decoder.kv_heads": (3, 0),
    "model.decoder.head_dim": (7,),
    "model.decoder.vocabulary": (-1,),
    "model.decoder.norm_eps": (-1e-6,),
    "model.decoder.moe.active": (-1,),
    "model.decoder.moe.balance": (-0.1,),
    "model.lora.rank": (-2,),
    "model.decoder.embed_scale": (0.0, 1e30),
    "model.lora.alpha": (0.0, 1e30),
    "model.variant.labels": (0,),
    "model.variant.speech_positions": ("ctc",),
    "model.variant.phones": (-1,),
    "vocab.size": (0,),
    "vocab.kind": ("bep",),
    "vocab.path": ("gs://bucket/vocab",),
    "augment.tempo": ((0.0, 0.0), (1.2, 0.8), (0.9, math.inf), (1.0, 50.0)),
    "augment.warp": ((-1.0, 1.0), (0.01, 1.0)),
    "augment.eq_db": (-1.0, 1e9),
    "augment.noise": (2.0, -0.1),
    "augment.noise_snr_db": ((30.0, 5.0), (-1e30, 1e30)),
    "augment.reverb_seconds": ((0.0, 1.0), (1e6, 1e6)),
    "augment.time_fraction": (3.0,),
    "augment.frequency_masks": (-1, 10**9),
    "augment": ({"frequency_masks": 1, "frequency_width": 80},),
    "data.stretch": (-1.0, 0.0, 0.5),
    "data.min_seconds": (-3.0,),
    "data.cache_gib": (-1.0,),
    "data.max_bad_fraction": (-1.0, 1.5),
    "data.mixture": ((), (("a", 0.0),), (("a", -1.0),), (("a", 1.0), ("b", 1.0), ("a", 0.5))),
    "data.buckets": ((), ((2.0, 8, 0),), ((-1.0, 8, 1),), ((2.0, 8, 1), (1.0, 8, 1))),
    "data.contexts.plain": (1.5,),
    "data.contexts.irrelevant": (0.5,),  # beside plain = 1
    "data.contexts.tokens": (-1, 8),  # beside plain = 1: no context is ever given
    "model.variant.transcript_position": (-1, 2**30),
    "data.contexts.kinds": ({"hotword": 1.0}, {"hotwords": 0.0}, {"hotwords": -1.0}),
    "mesh.data": (0, -2),
    "mesh.tensor": (0, -1),  # beside fsdp = -1
    "run.accum": (0,),
    "run.keep": (0,),
    "run.log_every": (-1, 0),
    "run.save_every": (-1, 0),
    "run.remat": ("ful",),
    "run.cache": ("gs://bucket/cache",),
    "eval.buckets": (
        *(((2.0, 0, 8),), ((0.0, 8, 8),), ((2.0, 8, 1), (1.0, 8, 1))),
        *(((1e30, 8, 8),), ((2.0, 10**30, 8),), ((2.0, 8, 10**30),)),
    ),
    "eval.tasks": (("a", "b", "a"),),
    "eval.every": (-1,),
    "eval.tokens": (0,),
    "eval.unit": ("words",),
}


@pytest.mark.parametrize("key", OUTSIDE)
def test_a_value_without_meaning_is_refused_by_its_key(key):
    for value in OUTSIDE[key]:
        change = {f"stages__two__{key.replace('.', '__')}": value}
        text = fails(recipe(**change, scale_steps=1e-3))  # scaling clamps, and hides nothing
        assert text.startswith(f"config.stages.two.{key.split('.')[0]}")
        assert "expected" in text and "found" in text


def test_axes_that_all_take_what_is_left_are_named():
    text = fails(recipe(stages__two__mesh__tensor=-1))  # beside fsdp = -1
    assert "expected -1 for one axis alone, found it for fsdp and tensor" in text


def test_every_number_of_the_schema_has_bounds():
    def walk(kind, where=""):
        for field in dataclasses.fields(kind):
            if dataclasses.is_dataclass(field.type):
                kinds = getattr(field.type, "kinds", {"": field.type}).values()
                for each in kinds:
                    if each.__module__.startswith("seedasr_jax."):  # not those of another test
                        yield from walk(each, f"{where}{field.name}.")
            elif re.search("int|float", str(field.type)):
                yield f"{where}{field.name}", field.metadata

    found = dict(walk(config.Stage))
    assert len(found) > 60
    # Buckets are checked by functions, which an evaluation shares.
    free = [key for key, metadata in found.items() if "rule" not in metadata]
    assert free == ["data.buckets", "eval.buckets"]


def test_choices_are_those_that_the_code_knows():
    def names(kind, field):
        (found,) = (f for f in dataclasses.fields(kind) if f.name == field)
        return set(found.metadata["rule"].names)

    assert names(config.LogMel, "norm") == set(logmel.NORMS)
    for options in config.Optim.kinds.values():
        assert callable(options.maker())
    assert names(config.Run, "remat") == set(layers.REMAT)
    assert names(config.Vocab, "kind") == set(vocab_training.KINDS)
    for unit in names(config.Eval, "unit"):
        score.units("a b", unit)


@pytest.mark.parametrize(("slowest", "least"), [((0.87, 0.9), 1.2772), ((0.8, 1.0), 1.25)])
def test_stretch_covers_the_slowest_tempo(slowest, least):
    augment = {"tempo": (slowest[0], 1.1), "speed": (slowest[1], 1.0)}
    text = fails(recipe(stages__two__augment=augment))
    assert f"config.stages.two.data.stretch: expected at least {least}" in text
    config.expand(recipe(stages__two__augment=augment, stages__two__data__stretch=least))
    without_audio = dict(stages__two__data__buckets=((0.0, 8, 4),))
    config.expand(recipe(stages__two__augment=augment, **without_audio))


@pytest.mark.parametrize("value", [0, -1.0, "half", True])
def test_scale_steps_is_a_number_above_zero(value):
    assert "scale_steps" in fails(recipe(scale_steps=value))
