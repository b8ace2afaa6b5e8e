"""The registry of parts: what it says of ours, and one that a module outside the package adds."""

import jax
import pytest
import tiny

from seedasr_jax.checkpoint import handover
from seedasr_jax.errors import ConfigError
from seedasr_jax.models import decoders, names, parts


def test_an_unknown_part_names_the_nearest():
    message = r"part: expected one of encoder, .* found 'encodr'. Did you mean encoder"
    with pytest.raises(ConfigError, match=message):
        parts.lookup("encodr")
    with pytest.raises(ConfigError, match="Did you mean decoder"):
        tiny.model(("encoder", "decodr"))


def test_every_name_is_a_part():
    ours = {value for key, value in vars(names).items() if key.isupper()}
    assert ours | {"phone_head"} == set(parts.known())  # which seedasr_jax.small adds


def test_adapters_stand_inside_the_decoder():
    assert parts.with_inner(("encoder", "decoder")) == ("encoder", "decoder", "lora")
    assert parts.with_inner(("encoder",)) == ("encoder",)
    assert parts.holder("lora") == "decoder" and parts.holder("encoder") == "encoder"


@pytest.mark.parametrize(
    ("having", "able"),
    [
        (("encoder", "ctc_head", "converter", "decoder"), ("greedy", "beam", "ctc")),
        (("encoder", "converter", "decoder", "lora"), ("greedy", "beam")),
        (("encoder", "ctc_head"), ("ctc",)),
        (("decoder",), ()),
        (("encoder", "probe"), ()),
    ],
)
def test_parts_say_what_a_model_decodes(having, able):
    assert parts.decodings(having) == able


def test_groups_of_the_config_reach_the_parts_that_they_shape():
    assert parts.of_group("encoder") == ("encoder", "teacher")
    assert parts.of_group("lora") == ("decoder",)
    assert parts.of_group("dtype") == ()


def test_a_source_without_the_part_names_the_nearest():
    found = {"encoder.a": jax.ShapeDtypeStruct((2,), "float32")}
    with pytest.raises(ConfigError, match=r"no part 'encodr': found encoder;.*mean encoder"):
        handover.compare("init.encoder=ctc:encodr", "encoder", found, found, "encodr")


def test_an_unfinished_decoder_names_the_method_that_it_lacks():
    lacking = decoders.Decoder(tiny.decoder(), 9, None)
    with pytest.raises(ConfigError, match=r"kind = .transformer.*a method logits, found none"):
        lacking.logits(None)
