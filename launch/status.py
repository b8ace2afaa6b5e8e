"""The state of a workdir, read from its files alone, without JAX."""

from collections.abc import Mapping
import dataclasses
import math
import os
import pathlib
from typing import Any

from seedasr_jax import config, filesystem, inventory, tables
from seedasr_jax import workdir as disk
from seedasr_jax.errors import ConfigError, UserError


def rows(workdir: pathlib.Path) -> list[dict]:
    """One dict per stage of the graph, with the keys of `status --json`.

    A stage with damaged or missing files also has `problems`, a line each.

    Raises:
        UserError: the folder is not a workdir, or its graph is invalid.
    """
    path = workdir / disk.CONFIG
    if not path.exists():
        raise UserError(f"{workdir} is not a workdir: expected {path}")
    tree = disk.read_config(workdir)
    if "format" in tree:
        raise UserError(f"{workdir} is a bundle: `status` shows the stages of a workdir")
    try:
        stages = config.build(tree.get("stages"), Mapping[str, Any], f"{path}.stages")
        rows = []
        for name, stage in stages.items():
            found = config.build(stage, Mapping[str, Any], f"{path}.stages.{name}")
            steps = config.build(found.get("steps"), int, f"{path}.stages.{name}.steps")
            rows.append(_row(workdir / name, steps))
    except ConfigError as error:
        raise UserError(f"{error}{disk.NEW_CONFIG}") from error
    if not rows:
        raise UserError(f"{path}: expected stages, found none{disk.NEW_CONFIG}")
    return rows


@dataclasses.dataclass(frozen=True)
class _Shown:
    """The keys of stage.json that are shown."""

    format_version: int
    state: str = config.one_of("running", "finished")
    step: int = config.at_least(0)
    hours: Mapping[str, float]
    spent: Mapping[str, float]
    parents: Mapping[str, Mapping[str, str]]
    frozen: Mapping[str, Mapping[str, str]]


def _recorded(folder) -> dict:
    """The keys of a stage's record that are shown, validated."""
    path, tree = folder / disk.STAGE, disk.read_stage(folder)
    known = [field.name for field in dataclasses.fields(_Shown)]
    disk.check_format(tree, path)
    try:
        shown = config.build({k: tree[k] for k in known if k in tree}, _Shown, str(path))
        config.check(shown, str(path))
        for part, where in shown.parents.items():
            config.build(where.get("checkpoint"), str, f"{path}.parents.{part}.checkpoint")
    except ConfigError as error:
        raise UserError(f"{error}{disk.NEW_STAGE}") from error
    return config.to_dict(shown)


def _row(folder, steps):
    problems: list[str] = []
    if folder.exists() and not folder.is_dir():
        problems.append(f"{folder}: expected a folder, found a file: move it away")
    newest, damaged = _read(lambda: inventory.newest(folder), problems) or (None, [])
    problems += damaged
    found = {} if newest is None else {"state": "running", "step": newest}
    if _read(lambda: os.path.lexists(folder / disk.STAGE), problems):
        recorded = _read(lambda: _recorded(folder), problems)
        found = found | {"state": "unreadable"} if recorded is None else recorded
    step = found.get("step", 0)
    kept = min(step, newest or 0)
    if step > kept:
        last = newest or "none"
        problems.append(f"{folder}@{step} is missing or damaged; newest complete step: {last}")
    speeds = [
        row["host/steps_per_second"]
        for row in _read(lambda: disk.read_rows(folder / disk.METRICS), problems) or ()
        if isinstance(speed := row.get("host/steps_per_second"), float) and math.isfinite(speed)
    ]
    return {
        "stage": folder.name,
        "state": found.get("state", "waiting"),
        "step": step,
        "steps": steps,
        "steps_per_second": round(speeds[-1], 2) if speeds else None,
        "checkpoint": f"{folder}@{kept}" if kept else None,
        "hours": round(sum(found.get("hours", {}).values()), 3),
        "chip_hours": round(found.get("spent", {}).get("chip_seconds", 0.0) / 3600, 4),
        "parents": {p: r["checkpoint"] for p, r in found.get("parents", {}).items()},
        "frozen": list(found.get("frozen", {})),
    } | ({"problems": problems} if problems else {})


def _read(read, problems):
    """The result of `read()`; None if it fails, with the error added to `problems`."""
    try:
        return read()
    except UserError as error:
        problems.append(str(error))
    except OSError as error:
        if (line := filesystem.as_user_error(error)) is None:
            raise
        problems.append(str(line))
    return None


def table(rows: list[dict]) -> str:
    """The rows as a table, followed by their problems."""
    head = ("stage", "state", "step", "steps/s", "hours of audio", "chip-hours", "checkpoint")
    head = (*head, "starts from")
    lines = [
        (
            *(r["stage"], r["state"], f"{r['step']}/{r['steps']}", r["steps_per_second"] or ""),
            *(r["hours"], r["chip_hours"], r["checkpoint"] or "", _origins(r)),
        )
        for r in rows
    ]
    problems = [f"{row['stage']}: {line}" for row in rows for line in row.get("problems", ())]
    return "\n".join([tables.columns(head, lines), *problems])


def _origins(row) -> str:
    """The checkpoints that a stage came from; frozen parts are still read from them."""
    marks = dict.fromkeys(row["frozen"], ", frozen")
    parents = row["parents"].items()
    return "; ".join(f"{where} ({part}{marks.get(part, '')})" for part, where in parents)
