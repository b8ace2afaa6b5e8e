"""What the language model reads before the speech: instruction (Seed-ASR, figure 2) and context."""

from seedasr_jax.text.normalize import normalize

INSTRUCTION = "Transcribe the speech into text:"
INSTRUCTION_WITH_CONTEXT = "There are relevant contexts, transcribe the speech into text:"

SEPARATOR = ", "  # between the names of a context that is a list


def normal_context(normalizer: str, text: str) -> str:
    """A context in the form of transcripts, its commas kept: they part the names of a list."""
    parts = (normalize(normalizer, part) for part in text.split(SEPARATOR.strip()))
    return SEPARATOR.join(part for part in parts if part)


def context(text: str = "", hotwords=()) -> str:
    """A context of a text and a list of hotwords; see `normal_context` for how it is read.

    The paper's contexts are natural language; a list is ours.
    """
    return SEPARATOR.join(part.strip() for part in (text, *hotwords) if part.strip())
