"""The two instructions that the language model reads (Seed-ASR, figure 2)."""

INSTRUCTION = "Transcribe the speech into text:"
INSTRUCTION_WITH_CONTEXT = "There are relevant contexts, transcribe the speech into text:"
