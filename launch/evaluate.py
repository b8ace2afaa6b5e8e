"""`seedasr eval`: scores a checkpoint on tasks and writes results.jsonl."""

import ast
import operator
import pathlib
import re

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config, filesystem
from seedasr_jax import workdir as disk
from seedasr_jax.data_pipelines import loader
from seedasr_jax.decode import methods, scoring
from seedasr_jax.decode import recogniser as recognisers
from seedasr_jax.errors import ConfigError
from seedasr_jax.evaluate import cells, opening, score
from seedasr_jax.launch import runtime, tasks
from seedasr_jax.launch.progress import say
from seedasr_jax.models import names
from seedasr_jax.models.parts import BEAM, decodings

# Default shapes for scoring: (seconds, utterances).
SHAPES = tuple((s, max(1, round(64 / s))) for s in (1.0, 2.5, 5.0, 10.0, 20.0, 40.0))

_UNENDED = re.compile(r".*\?.*|manifest:(?!.*\.jsonl?$).*", re.DOTALL)


def split_tasks(text: str) -> list[str]:
    """Splits `A,B` at the commas between tasks, not at those in a query or a file name.

    `manifest:a,b.jsonl?speaker=x,y,manifest:c.jsonl` is two tasks: a piece without a colon
    continues a preceding query, or a manifest's name that has no suffix yet.
    """
    tasks: list[str] = []
    for piece in text.split(","):
        if tasks and ":" not in piece and _UNENDED.fullmatch(tasks[-1]):
            tasks[-1] += "," + piece
        else:
            tasks.append(piece.strip())
    return [task for task in tasks if task]


def read_buckets(text: str):
    """Parses `((SECONDS,TOKENS,UTTERANCES),...)`.

    Raises:
        ConfigError: the text has another form, or the buckets are invalid.
    """
    try:
        found = ast.literal_eval(text)
        found = tuple((float(s), operator.index(t), operator.index(n)) for s, t, n in found)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ConfigError(
            f"--buckets: expected '((SECONDS,TOKENS,UTTERANCES),...)', such as"
            f" '((5.0,64,8),(300.0,2000,1))', found {text!r}"
        ) from error
    try:
        config.check_scored(found)
    except ConfigError as error:
        raise ConfigError(f"--{error}") from error
    return found


def of_shapes(stage, shapes=SHAPES):
    """Buckets of the shapes and of longer ones, with the stage's limit on decoded tokens."""
    return config.longer((seconds, stage.eval.tokens, rows) for seconds, rows in shapes)


def chosen(decode: str, beam: int, alpha: float | None, default: str) -> methods.Method:
    """The method that three flags name; 0, None and "" stand for flags that were not given.

    Raises ConfigError if they contradict each other or an alpha has no beam.
    """
    if not beam and alpha is not None:
        cure = "add --beam, such as --beam=4"
        if decode and methods.parse(decode).kind == BEAM:
            cure = f"write it as an option, --decode={decode},alpha={alpha:g}"
        raise ConfigError(f"--alpha={alpha:g} weighs the context in a beam search: {cure}")
    if decode and beam:
        raise ConfigError(f"--decode={decode} and --beam={beam} both name a method: leave one out")
    if beam:
        return methods.parse(f"beam{beam}" if alpha is None else f"beam{beam},alpha={alpha:g}")
    return methods.parse(decode or default)


def run(
    checkpoint,
    wanted,
    *,
    decode="",
    beam=0,
    alpha=None,
    normalizer="",
    unit="",
    language="row",
    out="",
    cache="",
    buckets=(),
    mesh=None,
    kept=False,
):
    """Scores a checkpoint C on tasks, by name or SPEC; returns rows of results.jsonl, their table.

    Args:
        decode: a name of decode/methods.py; empty: the checkpoint's own.
        beam: hypotheses of a beam search, in place of `decode`; 0: not given.
        alpha: weight of each utterance's context in the beam search; None: not read.
        normalizer, unit: for all utterances; empty: by the language of each (text/languages.py),
            and the recipe's for rows without one.
        language: of all utterances; "row": as each row states.
        out: folder of the results; empty: CHECKPOINT/eval/HASH, by what is evaluated and how.
        cache: folder for generated audio; empty: beside the checkpoint's stage.
        buckets: (seconds, limit of decoded tokens, utterances), ascending; empty: the stage's, else
            of SHAPES.
        mesh: see evaluate/opening.py.
        kept: whether results of the same cells in `out` are kept instead of recomputed.

    Raises:
        ConfigError: no or unknown tasks, an unsupported decoding, or results of other cells in
            `out`.
        DataError: audio that cannot be read: an evaluation never shrinks silently.
    """
    if not wanted:
        raise ConfigError("--tasks is empty: name a task, a mixture or a SPEC")
    opened = checkpoints.open_checkpoint(checkpoint)
    filesystem.check_writable(out or opened.folder / disk.EVAL, "--out")
    say(f"checkpoint {opened.label}")
    opening.check_complete(opened)
    stage, parts = opened.stage, opened.parts()
    if not decodings(parts):
        raise ConfigError(
            f"{opened.label}: its parts ({', '.join(parts)}) transcribe nothing: choose a stage"
            " with an encoder and a CTC head or a decoder"
        )
    own = recognisers.default_method(stage.eval.decode, parts)
    method = chosen(decode, beam, alpha, own)
    setting = score.setting(stage.eval, method.name, normalizer, unit, language)
    cache = cache or stage.run.cache or pathlib.Path(opened.folder).parent / disk.CACHE
    named = {}  # names are checked before parameters are read
    for task in wanted:
        name = loader.open_named(task, cache).name
        if name in named:
            raise ConfigError(f"--tasks: {named[name]} and {task} are both {name}: leave one out")
        named[name] = task
    recogniser = opening.open_recogniser(opened, mesh)
    recogniser.check(method.name)
    if pathlib.Path(cache).is_dir():  # a workdir's; nothing is written beside a bundle
        runtime.keep_programs(cache)
    shapes = buckets or stage.eval.buckets or of_shapes(stage)
    how = scoring.of(method.name, shapes, opened.limits)
    mesh = recogniser.mesh
    template = recogniser.template if names.DECODER in recogniser.parts else None
    open_task = tasks.opener(stage, recogniser.vocab, mesh, template=template, cache=cache)
    evaluations = [open_task(task, how) for task in named.values()]
    room = max(evaluation.context_tokens for evaluation in evaluations)
    for evaluation in evaluations:
        evaluation.widen_contexts(room)
        unused = evaluation.contexts_unused  # reported with the scores
        if method.alpha and not evaluation.context_tokens and not unused:
            say(f"{evaluation.name}: no utterance has a context: alpha has no effect")
        if untrained := opened.limits.untrained(evaluation.languages):
            say(f"{evaluation.name}: {opened.label} was not trained on {', '.join(untrained)}")
        if warning := setting.conventions.warning(evaluation.languages):
            say(f"{evaluation.name}: {warning}; see --language, --unit, --normalizer")
    units = [cells.Cell(opened, evaluation, setting) for evaluation in evaluations]
    here = pathlib.Path(opened.folder) / disk.EVAL / cells.digest(units)
    folder = pathlib.Path(out) if out else here
    filesystem.check_writable(folder, "--out")
    filesystem.check_files(folder, disk.TRANSCRIPTS, disk.RESULTS)
    rows = cells.run(folder, units, lambda _: recogniser, say, kept=kept)
    return rows, cells.table(rows)
