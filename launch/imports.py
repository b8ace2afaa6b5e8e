"""`seedasr import`: another project's model as a bundle."""

import pathlib

from seedasr_jax import config, filesystem
from seedasr_jax.configs import common
from seedasr_jax.convert import importing
from seedasr_jax.convert import source as sources
from seedasr_jax.convert.families import FAMILIES
from seedasr_jax.errors import ConfigError
from seedasr_jax.text.vocab import open_vocabulary


def bundle(folder: str, out: pathlib.Path, part: str = "") -> str:
    """Imports a folder as transformers' save_pretrained writes it; returns a line that says so.

    `part`: of the source, to import it alone; empty: all that it has.

    Raises:
        UserError: see `source.open_source` and `importing.import_source`.
    """
    source = sources.open_source(folder, tuple(FAMILIES))
    family = FAMILIES[source.architecture]
    vocab = open_vocabulary(source.folder) if family.tied else None
    read = family.read(source, vocab)
    if part and part not in read.parts:
        found = ", ".join(read.parts)
        raise ConfigError(f"--part={part}: {source.architecture} has {found}")
    if not out.exists():
        filesystem.check_writable(out, "--out")
    stage = _stage(read, (part,) if part else read.parts)
    written = importing.import_source(source, vocab, read, stage, out)
    chosen = part or ", ".join(read.parts)
    return f"{written}: {chosen} of {source.architecture} from {folder}"


def _stage(read, parts) -> config.Stage:
    """The stage that an imported bundle stands for: the model of the source, never trained."""
    c = common.graph(importing.STAGE)
    c.model = c.model.to_dict() | read.model
    if read.ends:
        c.model.prompt = common.chat_prompt() | dict(ends=read.ends)
    s = c.stages[importing.STAGE] = common.stage(importing.STAGE, steps=1)
    s.init, s.trains, s.optim = dict.fromkeys(parts, "fresh"), (), common.adamw(1e-4, warmup=1)
    longest, tokens = read.limits.seconds or 30.0, read.limits.transcript_tokens or 256
    buckets = ((longest, tokens, 8),)
    s.data = common.data(((importing.STAGE, 1.0),), buckets, normalizer="none@1")
    s.eval = dict(tokens=tokens)
    return config.expand(c).stages[importing.STAGE]
