"""SPEC: parsing, errors, and the name in results."""

import pytest

from seedasr_jax.data_pipelines import spec
from seedasr_jax.errors import ConfigError


def test_parse_everything():
    text = "manifest:/a b/test.jsonl?join=3-6&seed=4&part=dev&speaker=x,y&without=z&split=s&limit=9"
    parsed = spec.parse(f"{text}&language=en,yue&minutes=10")
    assert parsed.kind == "manifest" and parsed.where == "/a b/test.jsonl"
    assert (parsed.join, parsed.seed, parsed.fold, parsed.limit) == ((3, 6), 4, "dev", 9)
    assert (parsed.speaker, parsed.without, parsed.split) == (("x", "y"), ("z",), "s")
    assert (parsed.language, parsed.minutes) == (("en", "yue"), 10)


@pytest.mark.parametrize(
    "text, where",
    [
        ("tfds:spoken_digit:1.0.9@/data", "spoken_digit:1.0.9@/data"),
        ("synth:digits", "digits"),
        ("manifest:a.jsonl?", "a.jsonl"),
        ("manifest:who? me.jsonl", "who? me.jsonl"),
        ("manifest:x.jsonl.d/a?b.jsonl?limit=2", "x.jsonl.d/a?b.jsonl"),
    ],
)
def test_where(text, where):
    assert spec.parse(text).where == where


@pytest.mark.parametrize(
    "text, message",
    [
        ("manifst:a.jsonl", "expected KIND:WHERE.*Did you mean manifest"),
        ("a.jsonl", "expected KIND:WHERE"),
        ("manifest:", "found nothing after the colon"),
        ("manifest:a.jsonl?jion=3-6", "found 'jion'.*Did you mean join"),
        ("manifest:a.jsonl?join=6-3", "expected FEWEST-MOST, such as 3-6, found '6-3'"),
        ("manifest:a.jsonl?join=0-3", "expected FEWEST-MOST"),
        ("manifest:a.jsonl?seed=x", "seed: expected an integer, found 'x'"),
        ("manifest:a.jsonl?limit=0", "limit: expected at least 1"),
        ("manifest:a.jsonl?minutes=1000000000", "minutes: expected an integer of at most 9"),
        ("manifest:a.jsonl?minutes=0", "minutes: expected at least 1"),
        ("manifest:a.jsonl?part=test", "part: expected dev or train, found 'test'"),
        ("manifest:a.jsonl?seed", "expected seed=VALUE once, found 'seed'"),
        ("manifest:a.jsonl?seed=1&seed=2", "expected seed=VALUE once, found 'seed=2'"),
        ("manifest:a.jsonl?names=x", "names=x is the split.*add context=distractors_3"),
    ],
)
def test_errors_name_the_cure(text, message):
    with pytest.raises(ConfigError, match=message):
        spec.parse(text)


def test_task_name_leaves_the_folder_out_and_keeps_the_query():
    parsed = spec.parse("manifest:/x/y/test.jsonl?join=3-6&seed=0")
    name = spec.task_name(parsed, "1a2b3c4d5e6f")
    assert name == "manifest:test.jsonl?join=3-6&seed=0#1a2b3c4d"
    assert spec.task_name(spec.parse("tfds:a/b@/data/x"), "1a2b3c4d5e6f") == "tfds:a/b#1a2b3c4d"
