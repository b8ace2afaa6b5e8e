"""What the language model reads before the speech: instruction (Seed-ASR, figure 2) and context."""

from seedasr_jax.text.normalize import normalize

INSTRUCTION = "Transcribe the speech into text:"
INSTRUCTION_WITH_CONTEXT = "There are relevant contexts, transcribe the speech into text:"

SEPARATOR = ", "  # between the names of a context that is a list


def normal_context(normalizer: str, text: str) -> str:
    """A context in the form of transcripts, its commas kept: they part the names of a list."""
    parts = (normalize(normalizer, part) for part in text.split(SEPARATOR.strip()))
    return SEPARATOR.join(part for part in parts if part)
