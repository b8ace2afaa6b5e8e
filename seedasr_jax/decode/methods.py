"""Decoding methods and their names, as in results.jsonl, configs and flags; parsed only here.

ctc    greedy    greedy,long=direct    beam4    beam4,alpha=0.5,domain=log,prune=off
"""

import dataclasses
import functools
import math
import re

from seedasr_jax.decode.search import DOMAINS, Search
from seedasr_jax.errors import ConfigError, nearest

WITH_CONTEXT = "beam4,alpha=0.5"  # default with a context; ours, the paper states none
_BEAM = re.compile(r"beam(\d+)")
_SWITCH = {"on": True, "off": False}
LONG = ("cut", "direct")


@dataclasses.dataclass(frozen=True)
class Method:
    """A decoding method."""

    kind: str  # ctc, greedy or beam
    search: Search | None = None  # settings of a beam search
    alpha: float = 0.0  # weight of the context in a beam search; 0: it is not read
    long: str = "cut"  # audio longer than any in training: cut at pauses, or direct: as one segment

    @property
    def reads(self) -> bool:
        """Whether the context of an utterance is read."""
        return self.kind == "greedy" or self.alpha > 0

    def prefixes(self, context: int) -> tuple[tuple[int, ...], int]:
        """Number of context tokens in each prefix, given room for `context` of them, and number of
        hypotheses per row; (), 0 if no LLM decodes.
        """
        if self.kind == "ctc":
            return (), 0
        if self.kind == "greedy":
            return (context,), 1
        return ((0, context) if self.alpha and context else (0,)), self.search.beam

    @property
    def name(self) -> str:
        """Canonical name: equal methods have equal names."""
        words = [self.kind if self.search is None else f"beam{self.search.beam}"]
        if self.alpha:
            words.append(f"alpha={self.alpha:g}")
            words += ["domain=log"] if self.search.domain == "log" else []
            words += [] if self.search.prune else ["prune=off"]
        words += ["length=on"] if self.search is not None and self.search.length else []
        return ",".join(words + (["long=direct"] if self.long == "direct" else []))


def parse(text: str) -> Method:
    """Parses a name: ctc, greedy or beamN, and options.

    Any may have long=cut or direct. A beam may have alpha=X (0 or more, also inf: the probability
    with the context alone), domain=linear or log, prune=on or off, length=on or off (hypotheses are
    ranked by their mean score per token).

    Raises:
        ConfigError: no such method, option or value.
    """
    if not isinstance(text, str):
        raise ConfigError(f"decode: expected a text such as greedy or beam4, found {text!r}")
    return _parse(text)


@functools.cache
def _parse(text):
    head, *rest = text.split(",")
    beam = _BEAM.fullmatch(head)
    if beam is None and head not in ("ctc", "greedy"):
        raise ConfigError(
            f"decode {text!r}: expected ctc, greedy or beamN, such as beam4 or beam4,alpha=0.5."
            f"{nearest(head, ('ctc', 'greedy', 'beam4'))}"
        )
    if beam and int(beam[1]) < 1:
        raise ConfigError(f"decode {text!r}: expected a beam of 1 or more hypotheses")
    options = {"alpha": "0", "domain": "linear", "prune": "on", "length": "off", "long": "cut"}
    for word in rest:
        key, _, value = word.partition("=")
        if key not in options:
            raise ConfigError(
                f"decode {text!r}: no option {word!r}; expected {'=, '.join(options)}=."
                f"{nearest(key, options)}"
            )
        if beam is None and key != "long":
            raise ConfigError(
                f"decode {text!r}: {word!r} is an option of a beam search: write beam4,{word}"
            )
        options[key] = value

    def choice(key, values):
        if options[key] not in values:
            raise ConfigError(
                f"decode {text!r}: {key}: expected {' or '.join(values)}, found {options[key]!r}"
            )
        return options[key]

    long = choice("long", LONG)
    if beam is None:
        return Method(head, long=long)
    how = Search(
        beam=int(beam[1]),
        domain=choice("domain", DOMAINS),
        prune=_SWITCH[choice("prune", _SWITCH)],
        length=float(_SWITCH[choice("length", _SWITCH)]),
    )
    return Method("beam", how, _alpha(options["alpha"], text), long)


def chosen(decode: str, beam: int, alpha: float | None, default: str) -> Method:
    """The method that three flags name; 0, None and "" stand for flags that were not given.

    Raises:
        ConfigError: contradictory flags, or an alpha without a beam.
    """
    if not beam and alpha is not None:
        cure = "add --beam, such as --beam=4"
        if decode and parse(decode).kind == "beam":
            cure = f"write it as an option, --decode={decode},alpha={alpha:g}"
        raise ConfigError(f"--alpha={alpha:g} weighs the context in a beam search: {cure}")
    if decode and beam:
        raise ConfigError(f"--decode={decode} and --beam={beam} both say how: leave one out")
    if beam:
        return parse(f"beam{beam}" if alpha is None else f"beam{beam},alpha={alpha:g}")
    return parse(decode or default)


def with_context(own: str) -> str:
    """The method for utterances with a context of a checkpoint whose default method is `own`."""
    method = parse(own)
    if method.alpha:
        return own
    return dataclasses.replace(parse(WITH_CONTEXT), long=method.long).name


def _alpha(value, text) -> float:
    try:
        alpha = float(value)
    except ValueError:
        alpha = math.nan
    if not alpha >= 0:
        raise ConfigError(f"decode {text!r}: alpha: expected a number from 0, found {value!r}")
    return alpha
