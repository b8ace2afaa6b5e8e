"""Finding a checkpoint C: a workdir, a stage directory, DIR@STEP or an exported bundle."""

from collections.abc import Mapping
import dataclasses
import sys
from typing import Any

from etils import epath

from seedasr_jax import config, filesystem, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.checkpoint import record as records
from seedasr_jax.checkpoint import steps
from seedasr_jax.config import code
from seedasr_jax.errors import ConfigError, UserError, nearest

BUNDLE_FORMAT = "seedasr_jax.bundle"  # `format` in a bundle's config.json


@dataclasses.dataclass(frozen=True)
class Location:
    """Where a stage's state at one step is on disk, and its record. Made by `locate`."""

    folder: epath.Path  # absolute path of the stage directory or of the bundle
    name: str  # of the stage
    step: int
    record: records.StageRecord
    vocab: epath.Path  # the tokenizer's folder
    imports: tuple[str, ...]  # modules that register the names used in the config
    bundle: dict | None  # a bundle's config.json; None: a stage directory

    @property
    def stage(self) -> config.Stage:
        """The stage's config; a ConfigError names file and key if it is not valid here."""
        self.import_modules()
        try:
            return self.record.stage
        except ConfigError as error:
            path = self.folder / (disk.STAGE if self.bundle is None else disk.CONFIG)
            cure = "this seedasr_jax cannot read it: use the version that wrote it"
            raise ConfigError(f"{path}: {error}: {cure}") from error

    def import_modules(self) -> None:
        """Imports the modules that may register parts; errors name the config that lists them."""
        folder = self.folder.parent if self.bundle is None else self.folder
        with code.of_user(str(folder / disk.CONFIG)):
            code.import_all(self.imports)

    @property
    def label(self) -> str:
        """STAGE@STEP#HASH, as in results.jsonl: 8 hex digits of the hash of recipe and parents."""
        return f"{self.name}@{self.step}#{self.record.recipe_hash[:8]}"

    @property
    def recipe(self) -> str:
        """What determines the parameters: the hash of recipe and parents, and the step."""
        return f"{self.record.recipe_hash}@{self.step}"

    @property
    def permanent(self) -> bool:
        """Whether training never removes it: a bundle, or the last step of a finished stage."""
        last = self.record.state == "finished" and self.step == self.record.step
        return self.bundle is not None or last


def locate(path) -> Location:
    """Finds the checkpoint that a path names (a workdir: its last finished stage), or raises a
    UserError.
    """
    filesystem.check_local(path, "checkpoint")
    text = str(path).rstrip("/")
    folder, step = records.absolute(text), None
    if not folder.exists() and text.rpartition("@")[2].isdecimal():
        text, _, number = text.rpartition("@")
        folder, step = records.absolute(text), int(number)
    if not folder.is_dir():
        siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else ()
        raise filesystem.access_error(folder) or UserError(
            f"{folder}: no such checkpoint; expected a workdir, a stage directory, DIR@STEP or a"
            f" bundle.{nearest(folder.name, siblings)}"
        )
    if not (folder / disk.STAGE).exists():
        if not (folder / disk.CONFIG).exists():
            raise filesystem.access_error(folder / disk.CONFIG) or UserError(
                f"{folder}: expected a workdir, a stage directory, DIR@STEP or a bundle, found"
                f" neither {disk.CONFIG} nor {disk.STAGE}"
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
        at = "" if newest is None else f", or use {folder}@{newest}"
        raise UserError(
            f"{folder}: the stage is not finished (step {record.step} of"
            f" {record.recipe.get('steps')}): resume it with `seedasr train"
            f" --workdir={folder.parent}`{at}"
        )
    if step is None:  # the last step or, if that is damaged, the newest undamaged one
        newest, damaged = inventory.newest(folder)
        for line in damaged:
            print(line, file=sys.stderr)
        step = newest if damaged and newest is not None else record.step
    if wrong := inventory.damage(steps.find(folder, step)):
        raise UserError(f"{folder}@{step} is damaged: {wrong}; name another step")
    graph = folder.parent / disk.CONFIG
    imports = _imports(disk.read_config(folder.parent), graph) if graph.exists() else ()
    vocab = folder.parent / disk.VOCAB
    return Location(folder, folder.name, step, record, vocab, imports, None)


def _bundle(folder, settings, step):
    path = folder / disk.CONFIG
    record = records.parse(settings, path)
    if step not in (None, record.step):
        raise UserError(
            f"{folder}: expected step {record.step}, the bundle's, found {step}: omit @{step}"
        )
    listed = (folder / disk.INVENTORY).exists()  # older bundles have no inventory
    if wrong := inventory.damage(folder) if listed else "":
        raise UserError(f"{folder} is damaged: {wrong}; copy or export it again")
    imports = _imports(settings, path)
    name = config.build(settings.get("stage"), str, f"{path}.stage")
    config.build(settings.get("lineage"), tuple[Mapping[str, Any], ...], f"{path}.lineage")
    return Location(folder, name, record.step, record, folder, imports, settings)


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
            print(f"{folder} is not finished (step {newest}): skipped", file=sys.stderr)
    raise UserError(
        f"{workdir}: no stage is finished (of {', '.join(names) or 'none'}): resume with `seedasr"
        f" train --workdir={workdir}`, or name a checkpoint as {workdir}/STAGE@STEP"
    )
