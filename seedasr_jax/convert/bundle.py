"""Bundles: a recogniser or an encoder in one self-contained folder; `open_checkpoint` reads it.

A bundle consists of config.json, the tokenizer's files, model-*.safetensors, parity.json (the
bundle run from disk against its source), CARD.md and inventory.json (size and hash of the others).
Embeddings keep their padding rows: the parameters are those of the stage, bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

from etils import epath

from seedasr_jax import __version__, config, inventory, tables
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import Checkpoint, location, open_checkpoint
from seedasr_jax.convert import safetensors
from seedasr_jax.errors import UserError
from seedasr_jax.models.parts import decodings
from seedasr_jax.text import score
from seedasr_jax.text.vocab import open_trained

_UNKNOWN = "not stated"
_USE = """```python
import seedasr_jax

seedasr_jax.load("THIS_FOLDER").transcribe(wave, rate).text
```
"""
_START = """This bundle cannot transcribe by itself; a stage of a recipe starts from it:

```python
stage.init.encoder = "./THIS_FOLDER"
```
"""


def export_bundle(
    checkpoint: Checkpoint,
    out,
    check: Callable[[epath.Path], dict] | None = None,
    *,
    parts: Sequence[str] = (),
    results: Sequence[dict] = (),
    licences: Mapping[str, str] | None = None,
):
    """Writes a bundle to `out` and returns the path, which appears once complete and checked.

    Args:
        out: a new folder, or an earlier export of the same checkpoint, else a UserError is raised.
        check: runs the bundle in the given folder and returns the content of parity.json; raises
            if its output differs. None: no check and no parity.json, for an internal copy.
        parts: to export; empty: all.
        results: rows as in results.jsonl, for the card.
        licences: task -> licence of its data.
    """
    out = epath.Path(out)
    # The bundle contains the frozen parts; hashes are added once computed.
    changes = dict(state="finished", step=checkpoint.step, frozen={}, hashes={})
    changes["limits"] = checkpoint.limits
    settings = {
        "format": location.BUNDLE_FORMAT,
        "stage": checkpoint.name,
        "imports": list(checkpoint.imports),
        "lineage": checkpoint.lineage(),
        **config.to_dict(dataclasses.replace(checkpoint.record, **changes)),
    }
    partial = begin(out, settings)
    if partial is None:
        return out
    open_trained(checkpoint.vocab, checkpoint.record.vocabulary, checkpoint.label).save(partial)
    hashes = safetensors.write_shards(partial, checkpoint, parts=parts)
    disk.write_json(partial / disk.CONFIG, settings | {"hashes": hashes})
    if check is not None:
        disk.write_json(partial / disk.PARITY, check(partial))
    complete(partial, out, results, licences)
    return out


def begin(out, settings: dict) -> epath.Path | None:
    """The folder to write a bundle with these settings into; None: `out` already is that bundle.

    Raises a UserError if `out` has other content or is damaged.
    """
    if out.exists():
        _check_same(out, settings, "choose another --out or remove it")
        open_checkpoint(out)  # raises if it is damaged
        return None
    partial = out.parent / f"{out.name}.partial"
    if partial.exists():  # the writer was killed, or its check failed
        if any(not path.name.startswith(".") for path in partial.iterdir()):  # has a config.json
            _check_same(partial, settings, "remove it")
        partial.rmtree()
    partial.mkdir(parents=True)
    disk.write_json(partial / disk.CONFIG, settings)
    return partial


def complete(partial, out, results=(), licences=None) -> None:
    """Adds card and inventory to a bundle and moves it to `out`; see `export_bundle`."""
    card = _card(open_checkpoint(partial), results, licences or {})
    disk.write_text(partial / disk.CARD, card)
    inventory.write(partial, without=(disk.CARD,))  # the card may be edited
    partial.rename(out)


def _check_same(folder, settings, cure):
    path = folder / disk.CONFIG
    found = disk.read_json(path) if path.exists() else {}
    if found | {"hashes": {}} != settings | {"hashes": {}}:
        raise UserError(f"{folder}: expected this export, found other content: {cure}")


def _card(bundle, results, licences) -> str:
    """CARD.md of a bundle that is already on disk."""
    parts = {part: bundle.shapes(part).values() for part in bundle.parts()}
    sizes = [(part, f"{sum(x.size for x in leaves):,}") for part, leaves in parts.items()]
    lineage, data = [], []
    for entry in bundle.lineage():
        parents = ", ".join(f"{part} from {where}" for part, where in entry["parents"].items())
        lineage.append((entry["checkpoint"], entry["kind"], parents or "nothing"))
        stage = entry["checkpoint"].partition("@")[0]
        for task, rate in entry["mixture"]:
            hours = f"{entry['hours'][task]:.2f}" if task in entry["hours"] else _UNKNOWN
            data.append((stage, task, f"{rate:g}", hours, licences.get(task, _UNKNOWN)))
    head = ("task", "decode", "utterances", "percent", "95 % interval")
    rates = []
    for row in results:
        about = row["task"], row["decode"], row["utterances"]
        rates.append((*about, f"{row['error_rate']:.2f}", score.interval(row)))
    measured = tables.markdown(head, rates) if rates else "Not measured with this export.\n"
    described = f"Stage `{bundle.name}` of kind `{bundle.stage.kind}` after {bundle.step} steps"
    sections = [
        f"# {bundle.label}\n",
        f"{described}, written by seedasr_jax {__version__}.\n",
        _USE if decodings(parts) else _START,
        "## Parameters\n",
        tables.markdown(("part", "parameters"), sizes),
        "## Lineage\n",
        tables.markdown(("checkpoint", "kind", "starts from"), lineage),
        "## Data\n",
        tables.markdown(("stage", "task", "rate", "hours of audio", "licence"), data),
        "## Error rates\n",
        measured,
    ]
    return "\n".join(sections)
