"""`seedasr status --verify`: the bytes of a workdir's checkpoints against the recorded hashes."""

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax.errors import UserError
from seedasr_jax.text import vocab


def verified(rows: list[dict]) -> list[dict]:
    """The rows of `status` with `problems` of content: what differs or is missing, a line each.

    Reads the own parts of finished stages and the frozen parts of all stages, each once.
    """
    read: dict[tuple, str] = {}
    return [_verified(row, read) for row in rows]


def _verified(row, read):
    if row["checkpoint"] is None:
        return row
    lines = list(row.get("problems", ()))
    try:
        opened = checkpoints.open_checkpoint(row["checkpoint"])
    except UserError as error:
        return row | {"problems": [*lines, str(error)]}
    try:
        vocab.open_trained(opened.vocab, opened.record.vocabulary, opened.label)
    except UserError as error:
        lines.append(str(error))
    for part in [*opened.record.hashes, *opened.record.frozen]:
        try:
            place = opened.stored_at(part)
            if place not in read:
                read[place] = opened.content_hash(part)
            opened.verify(part, read[place])
        except UserError as error:
            lines.append(str(error))
    return row | ({"problems": lines} if lines else {})
