"""Reading a checkpoint: parts, their shapes and hashes, lineage; a checkpoint as JSON."""

import os

from etils import epath

from seedasr_jax import config
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import hashes, steps, tensors, trees
from seedasr_jax.checkpoint import location as locating
from seedasr_jax.checkpoint import record as records
from seedasr_jax.checkpoint.limits import Limits
from seedasr_jax.errors import UserError, nearest

_CHUNK_BYTES = 2 << 30
_PARAMS = "params."  # prefix of parameters in a saved step


class Checkpoint(locating.Location):
    """A stage at a step, to be read part by part. Made by `open_checkpoint`.

    A frozen part is stored once, in the stage that it comes from: methods follow the record's
    reference, and raise a UserError if that stage is missing or was run again.
    """

    def parts(self) -> tuple[str, ...]:
        """Names of the parts, frozen ones included; `lora` stands for all adapters."""
        return tuple(dict.fromkeys([*trees.parts(self._stored()), *self.record.frozen]))

    def shapes(self, part: str) -> dict:
        """{name: ShapeDtypeStruct} of a part as it is stored; a UserError if there is none."""
        if part in self.record.frozen:
            source, name = self._referenced(part)
            return {trees.renamed(n, name, part): x for n, x in source.shapes(name).items()}
        found = trees.select(self._stored(), part)
        if not found:
            known = self.parts()
            text = f"{self.label} has no part {part!r}, found {', '.join(known)}."
            raise UserError(text + nearest(part, known))
        return found

    def load(self, part: str, shardings=None) -> dict:
        """Nested dicts of a part's arrays, {MODULE: {...}}, in the stored type; not verified.

        `shardings`: a tree with at least the part's parameters; None: NumPy arrays.
        """
        return trees.nest(self.read(part, trees.with_shardings(self.shapes(part), shardings)))

    def read(self, part: str, wanted: dict) -> dict:
        """{name: array} of some of `shapes(part)`; each device's shard is read directly onto it.

        `wanted`: {name: ShapeDtypeStruct}, the types and shardings (None: NumPy) of the result.
        """
        if part in self.record.frozen:
            source, name = self._referenced(part)
            renamed = {trees.renamed(n, part, name): x for n, x in wanted.items()}
            found = source.read(name, renamed)
            return {new: found[old] for new, old in zip(wanted, renamed)}
        if self.bundle is None:
            path = steps.find(self.folder, self.step)
            found = steps.read(path, {_PARAMS + name: x for name, x in wanted.items()})
            return {name.removeprefix(_PARAMS): leaf for name, leaf in found.items()}
        index = tensors.index(self.folder)
        return {name: index[name].read(like) for name, like in wanted.items()}

    def recorded(self, part: str) -> str | None:
        """Content hash of a part from the record: known for frozen parts and finished stages."""
        if part in self.record.frozen:
            return self.record.frozen[part]["hash"]
        return self.record.hashes.get(part) if self.step == self.record.step else None

    def content_hash(self, part: str, shardings=None) -> str:
        """Content hash of a part, computed from its bytes in chunks of `_CHUNK_BYTES` or one array.

        With `shardings`, each process reads only its shards; without, each reads all.
        """
        hasher, first = hashes.Hasher(), self.stored_at(part)[2]
        for group in trees.groups(self.shapes(part), _CHUNK_BYTES):
            for name, leaf in self.read(part, trees.with_shardings(group, shardings)).items():
                hasher.add(trees.renamed(name, part, first), leaf)
        return hasher.hexdigest()

    def stored_at(self, part: str) -> tuple[str, int, str]:
        """(folder, step, name there) of the checkpoint that stores a part's bytes."""
        if part not in self.record.frozen:
            return str(self.folder), self.step, part
        source, name = self._referenced(part)
        return source.stored_at(name)

    def verify(self, part: str, content: str) -> None:
        """Raises a UserError if a part's hash differs from the recorded one for this step."""
        known = self.recorded(part)
        if known is not None and known != content:
            where = epath.Path(self.stored_at(part)[0])
            cure = "copy or export it again"
            if (where / disk.STAGE).exists():
                train = f"`seedasr train --workdir={where.parent} --from={where.name}`"
                cure = f"copy it there again, or train it again with {train}"
            raise UserError(
                f"{self.label}: {part} in {where} is damaged: expected hash {known[:8]}, as"
                f" recorded, found {content[:8]}: {cure}"
            )

    def part_hash(self, part: str, shardings=None) -> str:
        """Content hash of a part: the recorded one, else computed."""
        return self.recorded(part) or self.content_hash(part, shardings)

    def reference(self, part: str, workdir, name: str | None = None, shardings=None) -> dict:
        """{"checkpoint", "hash", "recipe"} for the stage.json of a stage that uses the part.

        Args:
            workdir: of that stage; the path of a checkpoint inside it is relative.
            name: of the part in that stage, default the same; if it differs, "part" is added.
            shardings: as in `content_hash`, for a part whose hash is not recorded.
        """
        other = {} if name in (None, part) else {"part": part}
        where = self.folder if self.bundle else f"{self.folder}@{self.step}"
        if self.folder.is_relative_to(records.absolute(workdir)):
            where = os.path.relpath(where, records.absolute(workdir))
        content = {"checkpoint": str(where), "hash": self.part_hash(part, shardings)}
        return content | {"recipe": self.recipe} | other

    @property
    def limits(self) -> Limits:
        """The recorded limits; a UserError if the stage never read its data and recorded none."""
        if self.record.limits is None:
            raise UserError(
                f"{self.label}: expected limits in its record, found none: resume its training"
            )
        return self.record.limits

    def lineage(self) -> list[dict]:
        """The checkpoint itself, then all its ancestors, each once.

        Keys: checkpoint, kind, step, hours, mixture, parents (part -> checkpoint). A parent that no
        longer exists appears in `parents` only.
        """
        if self.bundle is not None:
            return self.bundle["lineage"]
        labels, ancestors = {}, []
        for part, reference in sorted(self.record.parents.items()):
            where = reference["checkpoint"]
            try:
                parent = open_checkpoint(self.folder.parent / where)
            except UserError:  # it no longer exists
                labels[part] = f"{where} (hash {reference['hash'][:8]})"
            else:
                labels[part] = parent.label
                ancestors += parent.lineage()
        entry = {
            "checkpoint": self.label,
            "kind": self.record.kind,
            "step": self.step,
            "hours": self._hours(),
            "mixture": config.to_dict(self.stage.data.mixture),
            "parents": labels,
        }
        return list({e["checkpoint"]: e for e in [entry, *ancestors]}.values())

    def _hours(self) -> dict[str, float]:
        """Hours of audio by task of the mixture; the record counts them by content of the task."""
        hours, reads = self.record.hours, self.record.reads
        return {
            task: sum(h for name, h in hours.items() if records.without_path(name) in reads[task])
            for task, _ in self.stage.data.mixture
            if task in reads
        }

    def _stored(self) -> dict:
        """{name: ShapeDtypeStruct} of the parameters in this folder: no frozen parts."""
        if self.bundle is not None:
            return {name: tensor.struct for name, tensor in tensors.index(self.folder).items()}
        found = steps.shapes(steps.find(self.folder, self.step))
        return {n.removeprefix(_PARAMS): x for n, x in found.items() if n.startswith(_PARAMS)}

    def _referenced(self, part) -> tuple["Checkpoint", str]:
        """The checkpoint that a frozen part refers to, and the part's name in it."""
        reference = self.record.frozen[part]
        where = os.path.join(self.folder.parent, reference["checkpoint"])
        name, known = reference.get("part", part), reference["hash"]
        text = f"{self.label}: its frozen {part} (hash {known[:8]}) is no longer in {where}"
        train = f"`seedasr train --workdir={self.folder.parent}"
        stage = reference["checkpoint"].partition("@")[0].partition("/")[0]
        if where == reference["checkpoint"] or stage == disk.FROZEN:
            flags = f"--config=RECIPE --config.stages.{self.name}.init.{part}=PATH"
            cure = f"name its new path with {train} {flags}`"
        else:  # a stage of this workdir
            cure = f"run that stage and its descendants again with {train} --from={stage}`"
        try:
            source = open_checkpoint(where)
        except UserError as error:
            raise UserError(f"{text} ({error}): put it back, or {cure}") from error
        found = source.recorded(name)
        if found not in (None, known):
            raise UserError(
                f"{text}, which was trained again (hash {found[:8]}): restore its earlier content,"
                f" or {cure}"
            )
        return source, name


def open_checkpoint(path) -> Checkpoint:
    """The checkpoint that a path names; arguments and errors as for `location.locate`."""
    return Checkpoint(**vars(locating.locate(path)))


def to_dict(checkpoint: Checkpoint) -> dict:
    """A checkpoint as JSON values, which one process of a job hands to the others."""
    paths = {"folder": str(checkpoint.folder), "vocab": str(checkpoint.vocab)}
    record, imports = config.to_dict(checkpoint.record), list(checkpoint.imports)
    return vars(checkpoint) | paths | {"record": record, "imports": imports}


def from_dict(tree: dict) -> Checkpoint:
    """The inverse of `to_dict`."""
    paths = {key: epath.Path(tree[key]) for key in ("folder", "vocab")}
    record = records.parse(tree["record"], tree["folder"])
    return Checkpoint(**tree | paths | {"record": record, "imports": (*tree["imports"],)})
