"""The state of a workdir, read from its files alone: no JAX."""

import pathlib

from seedasr_jax import inventory
from seedasr_jax import workdir as disk
from seedasr_jax.errors import UserError


def rows(workdir: pathlib.Path) -> list[dict]:
    """One dict per stage of the graph; its keys are those of `status --json`.

    A stage with something damaged or gone has `problems` too, a line each.

    Raises:
        UserError: no workdir.
    """
    if not (workdir / disk.CONFIG).exists():
        raise UserError(f"{workdir} is no workdir: expected {workdir / disk.CONFIG}")
    stages = disk.read_config(workdir).get("stages", {})
    return [_row(workdir / name, stage["steps"]) for name, stage in stages.items()]


def _row(folder, steps):
    newest, problems = inventory.newest(folder)
    found = {} if newest is None else {"state": "running", "step": newest}
    try:
        if (folder / disk.STAGE).exists():
            found = disk.read_stage(folder)
    except UserError as error:
        found["state"] = "unreadable"
        problems.append(str(error))
    step = found.get("step", 0)
    kept = min(step, newest or 0)
    if step > kept:
        problems.append(
            f"{folder}@{step} is gone or damaged; newest whole step: {newest or 'none'}"
        )
    speeds = [
        row["host/steps_per_second"]
        for row in disk.read_rows(folder / disk.METRICS)
        if "host/steps_per_second" in row
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


def table(rows: list[dict]) -> str:
    """The rows for a person."""
    head = ("stage", "state", "step", "steps/s", "hours heard", "chip-hours", "checkpoint")
    head = (*head, "starts from")
    lines = [head] + [
        (
            r["stage"],
            r["state"],
            f"{r['step']}/{r['steps']}",
            str(r["steps_per_second"] or ""),
            str(r["hours"]),
            str(r["chip_hours"]),
            r["checkpoint"] or "",
            _origins(r),
        )
        for r in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = ["  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines]
    problems = [f"{row['stage']}: {line}" for row in rows for line in row.get("problems", ())]
    return "\n".join(text + problems)


def _origins(row) -> str:
    """What a stage came from; what is frozen is read there whenever the stage is."""
    marks = dict.fromkeys(row["frozen"], ", frozen")
    return "; ".join(
        f"{where} ({part}{marks.get(part, '')})" for part, where in row["parents"].items()
    )
