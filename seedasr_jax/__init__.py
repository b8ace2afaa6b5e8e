"""seedasr_jax: audio-conditioned LLM speech recognition after Seed-ASR (arXiv 2407.04675)."""

__version__ = "0.1.0"


def load(checkpoint, **options):
    """Opens a checkpoint (workdir, stage, DIR@STEP or bundle) as a `Transcriber`.

    Its `.transcribe(wave, rate)` returns a `Result`: `.text .tokens .logprobs .segments .cut
    .context_unread`. Options and errors: see `seedasr_jax.evaluate.transcribe.load`.
    """
    from seedasr_jax.evaluate import transcribe  # late: JAX is not imported by `import seedasr_jax`

    return transcribe.load(checkpoint, **options)
