"""One idea of a checkpoint C: a workdir, a stage directory, DIR@STEP or an exported bundle."""

from collections.abc import Mapping
import dataclasses
import os
import sys
from typing import Any

from etils import epath
import jax

from seedasr_jax import config, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import hashes, steps, tensors, trees
from seedasr_jax.checkpoint import limits as limiting
from seedasr_jax.checkpoint import record as records
from seedasr_jax.config import code
from seedasr_jax.errors import ConfigError, UserError, nearest

BUNDLE_FORMAT = "seedasr_jax.bundle"  # `format` in a bundle's config.json
_AT_ONCE = 2 << 30  # bytes
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
        """The stage's config; the modules that its graph imports register what it names.

        Raises:
            UserError: the record holds another; names the file and the key.
        """
        code.import_all(self.imports)
        try:
            return self.record.stage
        except ConfigError as error:
            path = self.folder / (disk.STAGE if self.bundle is None else disk.CONFIG)
            raise UserError(f"{path}: {error}: this seedasr_jax reads no such config") from error

    @property
    def label(self) -> str:
        """STAGE@STEP#8 hex of the recipe's hash (with its parents'): as results.jsonl names it."""
        return f"{self.name}@{self.step}#{self.record.recipe_hash[:8]}"

    @property
    def recipe(self) -> str:
        """What its parameters follow from: the recipe's hash (with its parents'), and the step."""
        return f"{self.record.recipe_hash}@{self.step}"

    @property
    def lasts(self) -> bool:
        """Whether no training removes it: a bundle, or the last step of a finished stage."""
        ended = self.record.state == "finished" and self.step == self.record.step
        return self.bundle is not None or ended

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

        The content is trusted; `content_hash` reads it to compare.

        Args:
            part: one of `parts()`.
            shardings: a tree that has the part's parameters (others too); None: NumPy arrays.

        Raises:
            UserError: it is not there, or a frozen one's stage was run again.
        """
        return trees.nest(self.read(part, _placed(self.shapes(part), shardings)))

    def read(self, part: str, wanted: dict) -> dict:
        """{name: array} of some of `shapes(part)`, each device's share read straight onto it.

        Args:
            part: one of `parts()`.
            wanted: {name: ShapeDtypeStruct} says types and shardings; without one: NumPy.
        """
        if part in self.record.frozen:
            holder, there = self._holder(part)
            theirs = {trees.renamed(name, part, there): x for name, x in wanted.items()}
            found = holder.read(there, theirs)
            return {ours: found[theirs] for ours, theirs in zip(wanted, theirs)}
        if self.bundle is None:
            path = steps.find(self.folder, self.step)
            found = steps.read(path, {_PARAMS + name: x for name, x in wanted.items()})
            return {name.removeprefix(_PARAMS): leaf for name, leaf in found.items()}
        index = tensors.index(self.folder)
        return {name: index[name].read(like) for name, like in wanted.items()}

    def recorded(self, part: str) -> str | None:
        """Content hash of a part as its record has it: of frozen parts and of a finished stage."""
        if part in self.record.frozen:
            return self.record.frozen[part]["hash"]
        return self.record.hashes.get(part) if self.step == self.record.step else None

    def content_hash(self, part: str, shardings=None) -> str:
        """Content hash of a part, of its bytes; at most `_AT_ONCE` of them (or one array) are held.

        Args:
            part: one of `parts()`.
            shardings: a tree that has the part's parameters, to read shares only; None: NumPy.
        """
        hasher, first = hashes.Hasher(), self.holder(part)[2]
        for group in trees.groups(self.shapes(part), _AT_ONCE):
            for name, leaf in self.read(part, _placed(group, shardings)).items():
                hasher.add(trees.renamed(name, part, first), leaf)
        return hasher.hexdigest()

    def holder(self, part: str) -> tuple[str, int, str]:
        """(folder, step, name) of where the bytes of a part are; follows references."""
        if part not in self.record.frozen:
            return str(self.folder), self.step, part
        holder, there = self._holder(part)
        return holder.holder(there)

    def verify(self, part: str, content: str) -> None:
        """Compares a part's hash with the record's, where that has one for this step.

        Raises:
            UserError: they differ.
        """
        known = self.recorded(part)
        if known is not None and known != content:
            where = epath.Path(self.holder(part)[0])
            cure = "copy or export it again"
            if (where / disk.STAGE).exists():
                train = f"`seedasr train --workdir={where.parent} --from={where.name}`"
                cure = f"copy it there again, or train it again with {train}"
            raise UserError(
                f"{self.label}: {part} has hash {content[:8]}, its record says {known[:8]}: it is"
                f" damaged in {where}: {cure}"
            )

    def part_hash(self, part: str, shardings=None) -> str:
        """Content hash of a part: as recorded, else computed."""
        return self.recorded(part) or self.content_hash(part, shardings)

    def reference(
        self, part: str, workdir, name: str | None = None, shardings=None
    ) -> dict[str, str]:
        """{"checkpoint", "hash", "recipe"} for a child's stage.json; relative inside `workdir`.

        "part" stands beside them where the child calls it by another `name`; `shardings` as in
        `content_hash`, which is needed where no hash is recorded.
        """
        other = {} if name in (None, part) else {"part": part}
        where = self.folder if self.bundle else f"{self.folder}@{self.step}"
        if self.folder.is_relative_to(records.absolute(workdir)):
            where = os.path.relpath(where, records.absolute(workdir))
        content = {"checkpoint": str(where), "hash": self.part_hash(part, shardings)}
        return content | {"recipe": self.recipe} | other

    @property
    def limits(self) -> limiting.Limits:
        """Its limits: as recorded or, in a record without them, derived from its parents."""
        if self.record.limits is not None:
            return self.record.limits
        parents = self._parents()
        return limiting.derive(self.stage, {p: c.limits for p, (c, _) in parents.items() if c})

    def lineage(self) -> list[dict]:
        """What it came from, itself first, each once.

        Keys: checkpoint, kind, step, hours, mixture, parents (part -> checkpoint). Of a parent that
        is not there any more only the reference is known.
        """
        if self.bundle is not None:
            return self.bundle["lineage"]
        labels, older = {}, []
        for part, (parent, named) in self._parents().items():
            labels[part] = named
            older += parent.lineage() if parent else []
        entry = {
            "checkpoint": self.label,
            "kind": self.record.kind,
            "step": self.step,
            "hours": self._hours(),
            "mixture": config.to_dict(self.stage.data.mixture),
            "parents": labels,
        }
        return list({e["checkpoint"]: e for e in [entry, *older]}.values())

    def _parents(self) -> dict[str, tuple["Checkpoint | None", str]]:
        """Part -> the checkpoint that it came from, None if that is gone, and its label."""
        found = {}
        for part, reference in sorted(self.record.parents.items()):
            where = reference["checkpoint"]
            try:
                parent = open_checkpoint(self.folder.parent / where)
            except UserError:
                found[part] = None, f"{where} (hash {reference['hash'][:8]})"
            else:
                found[part] = parent, parent.label
        return found

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
        """The checkpoint that a frozen part is in, and its name there.

        Raises:
            UserError: it is not there any more, or another's; says whose it is and what helps.
        """
        reference = self.record.frozen[part]
        where = os.path.join(self.folder.parent, reference["checkpoint"])
        there, known = reference.get("part", part), reference["hash"]
        text = f"{self.label}: its frozen {part} (hash {known[:8]}) is no longer in {where}"
        train = f"`seedasr train --workdir={self.folder.parent}"
        stage = reference["checkpoint"].partition("@")[0].partition("/")[0]
        if where == reference["checkpoint"] or stage == disk.FROZEN:
            cure = (
                f"name its place now with {train} --config=RECIPE"
                f" --config.stages.{self.name}.init.{part}=PLACE`"
            )
        else:  # a stage of this workdir
            cure = f"make it anew with all that starts from it, by {train} --from={stage}`"
        try:
            holder = open_checkpoint(where)
        except UserError as error:
            raise UserError(f"{text} ({error}): put it back, or {cure}") from error
        found = holder.recorded(there)
        if found not in (None, known):
            raise UserError(
                f"{text}, trained again since (hash {found[:8]}): put back what it was, or {cure}"
            )
        return holder, there


def open_checkpoint(path) -> Checkpoint:
    """Opens a workdir (its last finished stage), a stage directory, DIR@STEP or a bundle.

    Raises:
        UserError: nothing is there, or nothing finished; says what to do.
    """
    disk.check_local(path, "checkpoint")
    text = str(path).rstrip("/")
    folder, step = records.absolute(text), None
    if not folder.exists() and text.rpartition("@")[2].isdecimal():
        text, _, number = text.rpartition("@")
        folder, step = records.absolute(text), int(number)
    if not folder.is_dir():
        siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else ()
        raise disk.unseen(folder) or UserError(
            f"{folder}: no such checkpoint; expected a workdir, a stage directory, DIR@STEP or a"
            f" bundle.{nearest(folder.name, siblings)}"
        )
    if not (folder / disk.STAGE).exists():
        if not (folder / disk.CONFIG).exists():
            raise disk.unseen(folder / disk.CONFIG) or UserError(
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
    imports = _imports(disk.read_config(folder.parent), graph) if graph.exists() else ()
    vocab = folder.parent / disk.VOCAB
    return Checkpoint(folder, folder.name, step, record, vocab, imports, None)


def _last_whole(folder, step):
    """The last step of a finished stage or, where that is damaged, the one before it."""
    newest, damaged = inventory.newest(folder)
    for line in damaged:
        print(line, file=sys.stderr)
    return newest if damaged and newest is not None else step


def _bundle(folder, settings, step):
    path = folder / disk.CONFIG
    record = records.parse(settings, path)
    if step not in (None, record.step):
        raise UserError(
            f"{folder}: is a bundle of step {record.step}, not {step}: leave out @{step}"
        )
    listed = (folder / inventory.FILE).exists()  # older bundles have none
    if wrong := inventory.damage(folder) if listed else "":
        raise UserError(f"{folder} is damaged: {wrong}; copy or export it again")
    imports = _imports(settings, path)
    name = config.build(settings.get("stage"), str, f"{path}.stage")
    config.build(settings.get("lineage"), tuple[Mapping[str, Any], ...], f"{path}.lineage")
    return Checkpoint(folder, name, record.step, record, folder, imports, settings)


def _imports(settings, path) -> tuple[str, ...]:
    return config.build(settings.get("imports", ()), tuple[str, ...], f"{path}.imports")


def _last_finished(workdir, settings):
    stages, path = settings.get("stages", {}), workdir / disk.CONFIG
    names = list(config.build(stages, Mapping[str, Any], f"{path}.stages"))
    for name in reversed(names):
        folder = workdir / name
        if (folder / disk.STAGE).exists() and records.read(folder).state == "finished":
            return folder
        if (newest := steps.latest(folder)) is not None:
            print(f"{folder} is not finished (step {newest}): not taken", file=sys.stderr)
    raise UserError(
        f"{workdir}: no stage is finished (of {', '.join(names) or 'none'}): resume with `seedasr"
        f" train --workdir={workdir}`, or name a checkpoint as {workdir}/STAGE@STEP"
    )


def _placed(shapes, shardings):
    """{name: ShapeDtypeStruct} with the shardings of a tree, or without where that is None."""
    if shardings is None:
        return shapes
    places = trees.flat(shardings)
    return {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=places[name])
        for name, x in shapes.items()
    }
