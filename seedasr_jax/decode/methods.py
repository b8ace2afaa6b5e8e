"""Decoding methods and their names, as in results.jsonl, configs and flags; parsed only here.

ctc    greedy    greedy,long=direct    beam4    beam4,alpha=0.5,domain=log,prune=off
"""

import dataclasses
import math
import re

from seedasr_jax.decode.search import DOMAINS, Search
from seedasr_jax.errors import ConfigError, unknown
from seedasr_jax.models.parts import BEAM, CTC, GREEDY

WITH_CONTEXT = "beam4,alpha=0.5"  # default with a context; ours, the paper states none
_BEAM = re.compile(rf"{BEAM}(\d+)")
_SWITCH = ("on", "off")
LONG = ("cut", "direct")


@dataclasses.dataclass(frozen=True)
class Method:
    """A decoding method."""

    kind: str  # one of models/parts.py's GREEDY, BEAM, CTC
    search: Search | None = None  # settings of a beam search
    alpha: float = 0.0  # weight of the context in a beam search; 0: it is not read
    long: str = "cut"  # audio longer than any in training: cut at pauses, or direct: as one segment

    @property
    def reads(self) -> bool:
        """Whether the context of an utterance is read."""
        return self.kind == GREEDY or self.alpha > 0

    def prefixes(self, context: int) -> tuple[tuple[int, ...], int]:
        """Context tokens of each prefix, at most `context`, and hypotheses per row; CTC: (), 0."""
        if self.kind == CTC:
            return (), 0
        if self.kind == GREEDY:
            return (context,), 1
        return ((0, context) if self.alpha and context else (0,)), self.search.beam

    @property
    def name(self) -> str:
        """Canonical name: equal methods have equal names."""
        words = [self.kind if self.search is None else f"{BEAM}{self.search.beam}"]
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
    head, *rest = text.split(",")
    beam = _BEAM.fullmatch(head)
    if beam is None and head not in (CTC, GREEDY):
        known = (CTC, GREEDY, "beam4", "beam4,alpha=0.5 (or another number)")
        raise unknown(f"decode {text!r}", head, known)
    if beam and int(beam[1]) < 1:
        raise ConfigError(f"decode {text!r}: expected a beam of 1 or more hypotheses")
    options = {"alpha": "0", "domain": "linear", "prune": "on", "length": "off", "long": "cut"}
    for word in rest:
        key, _, value = word.partition("=")
        if key not in options:
            raise unknown(f"decode {text!r}: option", key, options)
        if beam is None and key != "long":
            cure = f"write beam4,{word}"
            raise ConfigError(f"decode {text!r}: {word!r} is an option of a beam search: {cure}")
        options[key] = value

    def choice(key, values):
        if (found := options[key]) not in values:
            wanted = " or ".join(values)
            raise ConfigError(f"decode {text!r}: {key}: expected {wanted}, found {found!r}")
        return found

    long = choice("long", LONG)
    if beam is None:
        return Method(head, long=long)
    try:
        alpha = float(options["alpha"])
    except ValueError:
        alpha = math.nan
    if not alpha >= 0:
        found = options["alpha"]
        raise ConfigError(f"decode {text!r}: alpha: expected a number from 0, found {found!r}")
    search = Search(
        beam=int(beam[1]),
        domain=choice("domain", DOMAINS),
        prune=choice("prune", _SWITCH) == "on",
        length=float(choice("length", _SWITCH) == "on"),
    )
    return Method(BEAM, search, alpha, long)


def with_context(default: str) -> str:
    """The method for utterances with a context of a checkpoint with this default method."""
    method = parse(default)
    if method.alpha:
        return default
    return dataclasses.replace(parse(WITH_CONTEXT), long=method.long).name
