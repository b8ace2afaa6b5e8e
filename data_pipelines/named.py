"""Opens sources by name: a SPEC, or a registered task or mixture."""

from collections.abc import Iterator

from seedasr_jax.data_pipelines import sources, spec
from seedasr_jax.data_pipelines.table import Chain
from seedasr_jax.text.normalize import normalize


def open_named(name: str, data_folder) -> sources.Source:
    """Opens a SPEC, or a registered task or mixture; a mixture's rows are concatenated by task.

    The source's name changes with its content and, for a mixture, with the rates.
    """
    if name.partition(":")[0] in spec.KINDS:
        return sources.open_source(name, data_folder)
    from seedasr_jax.data_pipelines import tasks  # late: imports TensorFlow

    found = [(source, rate) for source, _, rate in tasks.resolve(name, data_folder)]
    if len(found) == 1:
        return found[0][0]
    label = "+".join(f"{rate:.6g}*{source.name}" for source, rate in found)
    return sources.Source(label, Chain([source.rows() for source, _ in found]))


def texts(names, data_folder, normalizer: str) -> Iterator[str]:
    """Normalised transcripts of several SPECs, tasks or mixtures, to train a tokenizer on."""
    for name in names:
        for row in open_named(name, data_folder).rows():
            if row.text and not row.fault:
                yield normalize(normalizer, row.text)
