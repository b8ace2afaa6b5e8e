"""Names of decoding methods and the flags that make them."""

import pytest

from seedasr_jax.decode import methods
from seedasr_jax.decode.search import Search
from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import evaluate


@pytest.mark.parametrize(
    ("text", "method", "name"),
    [
        ("ctc", methods.Method("ctc"), "ctc"),
        ("greedy", methods.Method("greedy"), "greedy"),
        ("beam4", methods.Method("beam", Search(4)), "beam4"),
        ("beam4,alpha=0.5", methods.Method("beam", Search(4), 0.5), "beam4,alpha=0.5"),
        ("beam4,alpha=0.50,prune=on", methods.Method("beam", Search(4), 0.5), "beam4,alpha=0.5"),
        ("beam12,alpha=0", methods.Method("beam", Search(12)), "beam12"),
        ("beam1,alpha=inf", methods.Method("beam", Search(1), float("inf")), "beam1,alpha=inf"),
        (
            "beam2,prune=off,domain=log,alpha=3",
            methods.Method("beam", Search(2, "log", False), 3.0),
            "beam2,alpha=3,domain=log,prune=off",
        ),
        ("greedy,long=direct", methods.Method("greedy", long="direct"), "greedy,long=direct"),
        (
            "beam4,long=direct,alpha=0.5",
            methods.Method("beam", Search(4), 0.5, "direct"),
            "beam4,alpha=0.5,long=direct",
        ),
        ("ctc,long=cut", methods.Method("ctc"), "ctc"),
        ("beam2,length=on", methods.Method("beam", Search(2, length=1.0)), "beam2,length=on"),
    ],
)
def test_a_name_is_a_method_and_back(text, method, name):
    assert methods.parse(text) == method
    assert method.name == name
    assert methods.parse(name) == method


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("greddy", ["greedy"]),
        ("beam", ["beam4"]),
        ("beam0", ["1 or more"]),
        ("beam-1", ["beam4"]),
        ("greedy,alpha=1", ["beam4,alpha=1"]),
        ("beam4,alfa=1", ["Did you mean alpha"]),
        ("beam4,alpha=-1", ["alpha", "'-1'"]),
        ("beam4,alpha=much", ["alpha", "'much'"]),
        ("beam4,domain=loq", ["linear or log"]),
        ("beam4,prune=no", ["on or off"]),
        ("ctc,long=whole", ["cut or direct", "'whole'"]),
    ],
)
def test_names_that_are_none(text, words):
    with pytest.raises(ConfigError) as raised:
        methods.parse(text)
    for word in (text, *words):
        assert word in str(raised.value)


@pytest.mark.parametrize("found", [5, None, ["ctc"], b"ctc"])
def test_a_name_is_a_text(found):
    with pytest.raises(ConfigError, match="expected a text such as greedy or beam4, found"):
        methods.parse(found)


def test_flags_name_a_method():
    assert evaluate.chosen("", 0, None, "ctc").name == "ctc"
    assert evaluate.chosen("greedy", 0, None, "ctc").name == "greedy"
    assert evaluate.chosen("", 4, None, "ctc").name == "beam4"
    assert evaluate.chosen("", 4, 0.5, "ctc").name == "beam4,alpha=0.5"
    assert evaluate.chosen("beam2,alpha=1", 0, None, "ctc").name == "beam2,alpha=1"
    with pytest.raises(ConfigError, match="--beam=4"):
        evaluate.chosen("", 0, 0.5, "greedy")
    with pytest.raises(ConfigError, match=r"--decode=beam2,alpha=0\.5"):
        evaluate.chosen("beam2", 0, 0.5, "greedy")
    with pytest.raises(ConfigError, match="leave one out"):
        evaluate.chosen("greedy", 2, None, "greedy")


def test_the_method_of_a_context_reads_it():
    assert methods.parse(methods.WITH_CONTEXT).alpha > 0
