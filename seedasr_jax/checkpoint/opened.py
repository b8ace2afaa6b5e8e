"""One idea of a checkpoint C: a workdir, a stage directory, DIR@STEP or an exported bundle."""

import dataclasses
import sys

from etils import epath
import jax

from seedasr_jax import config, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import hashes, steps, tensors, trees
from seedasr_jax.checkpoint import record as records
from seedasr_jax.errors import UserError, nearest

BUNDLE_FORMAT = "seedasr_jax.bundle"  # `format` in a bundle's config.json
_PARAMS = "params."  # where a step holds its parameters


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A stage at a step, ready to be read part by part. Made by `open_checkpoint`."""

    folder: epath.Path  # of the stage, or the bundle; absolute
    name: str  # of the stage
    step: int
    record: records.StageRecord
    vocab: epath.Path  # folder with the tokenizer
    imports: tuple[str, ...]  # modules that register what its config names
    bundle: dict | None  # config.json of a bundle

    @property
    def stage(self) -> config.Stage:
        """The stage's config."""
        return self.record.stage

    @property
    def label(self) -> str:
        """STAGE@STEP#8 hex of the recipe's hash (with its parents'): as results.jsonl names it."""
        return f"{self.name}@{self.step}#{self.record.recipe_hash[:8]}"

    def parts(self) -> tuple[str, ...]:
        """Names of its parts, frozen ones included; `lora` where there are adapters."""
        return tuple(dict.fromkeys([*trees.parts(self._own()), *self.record.frozen]))

    def shapes(self, part: str) -> dict:
        """{name: ShapeDtypeStruct} of a part as it is stored; loads nothing.

        Raises:
            UserError: it has no such part, or a frozen one's stage is not there.
        """
        if part in self.record.frozen:
            holder, there = self._holder(part)
            return {trees.renamed(n, there, part): x for n, x in holder.shapes(there).items()}
        found = trees.select(self._own(), part)
        if not found:
            known = ", ".join(self.parts())
            near = nearest(part, self.parts())
            raise UserError(f"{self.label} has no part {part!r}, found {known}.{near}")
        return found

    def load(self, part: str, shardings=None) -> dict:
        """Nested dicts of a part's arrays, {MODULE: {...}}, in the stored type; follows references.

        Args:
            part: one of `parts()`.
            shardings: a tree that has the part's parameters (others too); None: NumPy arrays.

        Raises:
            UserError: it is not there, or its content is not what stage.json says.
        """
        places = None if shardings is None else trees.flat(shardings)
        leaves = self.read(part, self.shapes(part), places)
        first = self._first_name(part)
        named = {trees.renamed(name, part, first): leaf for name, leaf in leaves.items()}
        self.verify(part, hashes.parameters_hash(named))
        return trees.nest(leaves)

    def read(self, part: str, names, places: dict | None = None) -> dict:
        """{name: array} of some of `shapes(part)`; the content is not verified."""
        if part in self.record.frozen:
            holder, there = self._holder(part)
            theirs = {trees.renamed(name, part, there): name for name in names}
            moved = None if places is None else {n: places[ours] for n, ours in theirs.items()}
            return {theirs[n]: x for n, x in holder.read(there, theirs, moved).items()}
        if self.bundle is None:
            where = None if places is None else {_PARAMS + name: places[name] for name in names}
            path = steps.find(self.folder, self.step)
            found = steps.read(path, [_PARAMS + name for name in names], where)
            return {name.removeprefix(_PARAMS): leaf for name, leaf in found.items()}
        index = tensors.index(self.folder)
        leaves = {name: index[name].read() for name in names}
        if places is None:
            return leaves
        return {
            name: jax.make_array_from_callback(leaf.shape, places[name], leaf.__getitem__)
            for name, leaf in leaves.items()
        }

    def verify(self, part: str, content: str) -> None:
        """Compares a part's hash with the record's, where that has one for this step.

        Raises:
            UserError: they differ.
        """
        known = self.record.frozen.get(part, {}).get("hash")
        if part not in self.record.frozen and self.step == self.record.step:
            known = self.record.hashes.get(part)
        if known is not None and known != content:
            raise UserError(
                f"{self.label}: {part} has hash {content[:8]}, its record says {known[:8]}: it is"
                " damaged or its stage was run again; `seedasr train --from=STAGE` makes it anew"
            )

    def part_hash(self, part: str) -> str:
        """Content hash of a part: as recorded, else computed."""
        if part in self.record.frozen:
            return self.record.frozen[part]["hash"]
        if part in self.record.hashes and self.step == self.record.step:
            return self.record.hashes[part]
        return hashes.parameters_hash(self.load(part))

    def reference(self, part: str, workdir, name: str | None = None) -> dict[str, str]:
        """{"checkpoint", "hash"} for a child's stage.json; relative if it lies in `workdir`.

        "part" stands beside them where the child calls it by another `name`.
        """
        other = {} if name in (None, part) else {"part": part}
        where = self.folder if self.bundle else f"{self.folder}@{self.step}"
        if self.bundle is None and self.folder.parent == records.absolute(workdir):
            where = f"{self.name}@{self.step}"
        return {"checkpoint": str(where), "hash": self.part_hash(part)} | other

    def lineage(self) -> list[dict]:
        """What it came from, itself first, each once.

        Keys: checkpoint, kind, step, hours, mixture, parents (part -> checkpoint). Of a parent that
        is not there any more only the reference is known.
        """
        if self.bundle is not None:
            return self.bundle["lineage"]
        labels, older = {}, []
        for part, reference in sorted(self.record.parents.items()):
            where = reference["checkpoint"]
            try:
                parent = open_checkpoint(_resolve(self.folder.parent, where))
            except UserError:
                labels[part] = f"{where} (hash {reference['hash'][:8]})"
                continue
            labels[part] = parent.label
            older += parent.lineage()
        entry = {
            "checkpoint": self.label,
            "kind": self.record.kind,
            "step": self.step,
            "hours": self._hours(),
            "mixture": config.to_dict(self.stage.data.mixture),
            "parents": labels,
        }
        return list({e["checkpoint"]: e for e in [entry, *older]}.values())

    def _hours(self) -> dict[str, float]:
        """Hours by task of the mixture, as the recipe names it; the record has them by content."""
        heard, reads = self.record.hours, self.record.reads
        return {
            task: sum(h for name, h in heard.items() if records.placeless(name) in reads[task])
            for task, _ in self.stage.data.mixture
            if task in reads
        }

    def _own(self) -> dict:
        """{name: ShapeDtypeStruct} of what it holds itself."""
        if self.bundle is not None:
            return {name: tensor.struct for name, tensor in tensors.index(self.folder).items()}
        found = steps.shapes(steps.find(self.folder, self.step))
        return {n.removeprefix(_PARAMS): x for n, x in found.items() if n.startswith(_PARAMS)}

    def _holder(self, part) -> tuple["Checkpoint", str]:
        """The checkpoint that a frozen part is in, and its name there."""
        reference = self.record.frozen[part]
        holder = open_checkpoint(_resolve(self.folder.parent, reference["checkpoint"]))
        return holder, reference.get("part", part)

    def _first_name(self, part) -> str:
        """The name of a part where it was trained, under which its hash was taken."""
        if part not in self.record.frozen:
            return part
        holder, there = self._holder(part)
        return holder._first_name(there)


def open_checkpoint(path) -> Checkpoint:
    """Opens a workdir (its last finished stage), a stage directory, DIR@STEP or a bundle.

    Raises:
        UserError: nothing is there, or nothing finished; says what to do.
    """
    text = str(path).rstrip("/")
    folder, step = records.absolute(text), None
    if not folder.exists() and text.rpartition("@")[2].isdigit():
        text, _, number = text.rpartition("@")
        folder, step = records.absolute(text), int(number)
    if not folder.is_dir():
        siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else ()
        raise UserError(
            f"{folder}: no such checkpoint; expected a workdir, a stage directory, DIR@STEP or a"
            f" bundle.{nearest(folder.name, siblings)}"
        )
    if not (folder / disk.STAGE).exists():
        if not (folder / disk.CONFIG).exists():
            raise UserError(
                f"{folder}: holds neither {disk.CONFIG} nor {disk.STAGE}; expected a workdir, a"
                " stage directory, DIR@STEP or a bundle"
            )
        settings = disk.read_config(folder)
        if settings.get("format") == BUNDLE_FORMAT:
            return _bundle(folder, settings, step)
        folder = _last_finished(folder, settings)
    return _stage(folder, step)


def _stage(folder, step):
    record = records.read(folder)
    if step is None and record.state != "finished":
        newest = steps.latest(folder)
        at = "" if newest is None else f", or take {folder}@{newest}"
        raise UserError(
            f"{folder}: the stage is not finished (step {record.step} of"
            f" {record.recipe.get('steps')}): resume it with `seedasr train"
            f" --workdir={folder.parent}`{at}"
        )
    step = _last_whole(folder, record.step) if step is None else step
    if wrong := inventory.damage(steps.find(folder, step)):
        raise UserError(f"{folder}@{step} is damaged: {wrong}; name another step")
    graph = folder.parent / disk.CONFIG
    imports = disk.read_config(folder.parent).get("imports", ()) if graph.exists() else ()
    vocab = folder.parent / disk.VOCAB
    return Checkpoint(folder, folder.name, step, record, vocab, tuple(imports), None)


def _last_whole(folder, step):
    """The last step of a finished stage or, where that is damaged, the one before it."""
    newest, damaged = inventory.newest(folder)
    for line in damaged:
        print(line, file=sys.stderr)
    return newest if damaged and newest is not None else step


def _bundle(folder, settings, step):
    record = records.parse(settings, folder / disk.CONFIG)
    if step not in (None, record.step):
        raise UserError(
            f"{folder}: is a bundle of step {record.step}, not {step}: leave out @{step}"
        )
    imports = tuple(settings["imports"])
    return Checkpoint(folder, settings["stage"], record.step, record, folder, imports, settings)


def _last_finished(workdir, settings):
    names = list(settings.get("stages", ()))
    for name in reversed(names):
        folder = workdir / name
        if (folder / disk.STAGE).exists() and records.read(folder).state == "finished":
            return folder
    raise UserError(
        f"{workdir}: no stage is finished (of {', '.join(names) or 'none'}): resume with `seedasr"
        f" train --workdir={workdir}`, or name a checkpoint as {workdir}/STAGE@STEP"
    )


def _resolve(workdir, where):
    """A reference's path; what is not absolute stands under the workdir."""
    return where if "://" in where else workdir / where
