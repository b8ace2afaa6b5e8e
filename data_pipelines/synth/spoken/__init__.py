"""Languages of the corpus `commands`, one file each; SPOKEN is all of them by tag."""

from seedasr_jax.data_pipelines.synth.spoken.cantonese import CANTONESE
from seedasr_jax.data_pipelines.synth.spoken.english import ENGLISH
from seedasr_jax.data_pipelines.synth.spoken.language import Spoken
from seedasr_jax.data_pipelines.synth.spoken.mandarin import MANDARIN
from seedasr_jax.data_pipelines.synth.spoken.portuguese import PORTUGUESE
from seedasr_jax.data_pipelines.synth.spoken.spanish import SPANISH

__all__ = ["SPOKEN", "Spoken"]

SPOKEN: dict[str, Spoken] = {
    language.tag: language for language in (ENGLISH, SPANISH, PORTUGUESE, MANDARIN, CANTONESE)
}
