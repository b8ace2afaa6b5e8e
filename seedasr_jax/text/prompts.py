"""The two instructions that the language model reads (Seed-ASR, figure 2)."""

INSTRUCTION = "Transcribe the speech into text:"
INSTRUCTION_WITH_CONTEXT = "There are relevant contexts, transcribe the speech into text:"


def context(text: str = "", hotwords=()) -> str:
    """What stands between the instruction and the speech: a text, then hotwords as one line.

    The words are parted by commas; the recipe's normaliser, which the context goes through as all
    text does, may take them away. The paper's contexts are natural language; a list is ours.
    """
    lines = [text.strip(), ", ".join(word.strip() for word in hotwords if word.strip())]
    return "\n".join(line for line in lines if line)
