"""seedasr_jax: audio-conditioned LLM speech recognition after Seed-ASR (arXiv 2407.04675)."""

__version__ = "0.1.0"


def load(checkpoint, **options):
    """Opens a checkpoint (workdir, stage, DIR@STEP or bundle) for transcription.

    Args:
        checkpoint: path of the checkpoint.
        **options: see `seedasr_jax.evaluate.transcribe.load`.

    Returns:
        A recogniser; `.transcribe(wave, rate)` gives `.text .tokens .logprobs .segments`.
    """
    from seedasr_jax.evaluate import transcribe  # late: JAX is not imported by `import seedasr_jax`

    return transcribe.load(checkpoint, **options)
