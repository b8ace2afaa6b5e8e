"""Limits of a checkpoint's input and output: what it and its ancestors were trained on."""

from collections.abc import Iterable, Mapping
import dataclasses

from seedasr_jax import config, errors
from seedasr_jax.audio import pauses
from seedasr_jax.models import names
from seedasr_jax.models import parts as registry
from seedasr_jax.text import languages as table


@dataclasses.dataclass(frozen=True)
class Limits:
    """The group `limits` of stage.json and of a bundle's config.json."""

    seconds: float  # longest training utterance with a transcript; 0: there was none
    pause: float  # seconds; longest usual pause in them (audio/pauses.py); 0: not known
    context_tokens: int  # longest context; 0: trained without contexts
    transcript_tokens: int  # longest transcript
    languages: tuple[str, ...]  # stated by training utterances with a transcript, sorted
    unknown: float = 0.0  # fraction of transcript tokens unknown to the tokenizer; 0 if not known

    @property
    def segment(self) -> tuple[float, float]:
        """Seconds of the longest segment to decode, and of the longest pause within it."""
        return self.seconds, self.pause or pauses.PAUSE_SECONDS

    def untrained(self, tags: Iterable[str]) -> list[str]:
        """Sorted tags of languages, in any dialect, not trained on; [] if the data stated none."""
        known = {_language(tag) for tag in self.languages}
        return sorted({tag for tag in tags if tag and known and _language(tag) not in known})


def _language(tag) -> str:
    """The language of a tag by text/languages.py; the tag itself if it is not listed there."""
    try:
        row = table.lookup(tag)
    except errors.ConfigError:
        return tag.lower()
    while row.parent:
        row = table.LANGUAGES[row.parent]
    return row.tag


def derive(
    stage: config.Stage,
    parents: Mapping[str, Limits],
    *,
    prompted: bool,
    seconds: float | None = None,
    pause: float = 0.0,
    languages: Iterable[str] = (),
    unknown: float = 0.0,
) -> Limits:
    """The limits of a stage, from its config and the stages that its parts come from.

    `context_tokens` is not 0 if a part that can learn contexts (`Part.informed`) was trained with
    them, beside speech or its substitute. All other limits follow from the stages that trained the
    part which turns speech into text: the converter, else the CTC head.

    Args:
        parents: part -> limits of the checkpoint that it comes from; without fresh parts.
        prompted: whether the stage's objective reads instruction and context.
        seconds: of the longest utterance if the data are known; None: what the buckets admit.
        pause, languages: of the data, if known.
        unknown: fraction of the text tokens that are unknown to the tokenizer, if known.
    """
    data, converts = stage.data, names.CONVERTER in stage.init
    before = parents.get(names.CONVERTER if converts else names.CTC_HEAD)
    known = [Limits(0.0, 0.0, 0, 0, ()) if before is None else before]
    if data.has_audio and data.has_text:
        if seconds is None:
            seconds = data.buckets[-1][0] / data.stretch
        tokens, spoken = data.buckets[-1][1], tuple(tag for tag in languages if tag)
        known.append(Limits(seconds, pause, 0, tokens, spoken, unknown))
    reads = names.DECODER in stage.init and prompted
    contexts = [x.context_tokens for part, x in parents.items() if registry.lookup(part).informed]
    return Limits(
        seconds=max(x.seconds for x in known),
        pause=max(x.pause for x in known),
        context_tokens=max([*contexts, data.contexts.tokens * reads]),
        transcript_tokens=max(x.transcript_tokens for x in known),
        languages=tuple(sorted({tag for x in known for tag in x.languages})),
        unknown=max(x.unknown for x in known),
    )
