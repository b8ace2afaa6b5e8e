"""Speech made on the spot; `espeak` is how, the other modules are corpora."""
