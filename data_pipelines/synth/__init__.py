"""Synthesised speech: `espeak` synthesises, `commands` and `digits` are corpora made with it."""
