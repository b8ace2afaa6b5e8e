"""The state of a workdir, read from its files alone: no JAX."""

import pathlib

from seedasr_jax import workdir as disk
from seedasr_jax.errors import UserError


def rows(workdir: pathlib.Path) -> list[dict]:
    """One dict per stage of the graph; its keys are those of `status --json`.

    Raises:
        UserError: no workdir.
    """
    path = workdir / disk.CONFIG
    if not path.exists():
        raise UserError(f"{workdir} is no workdir: expected {path}")
    out = []
    for name, stage in disk.read_json(path)["stages"].items():
        record = workdir / name / disk.STAGE
        found = disk.read_json(record) if record.exists() else {}
        speeds = [
            row["host/steps_per_second"]
            for row in disk.read_rows(workdir / name / disk.METRICS)
            if "host/steps_per_second" in row
        ]
        step = found.get("step", 0)
        out.append(
            {
                "stage": name,
                "state": found.get("state", "waiting"),
                "step": step,
                "steps": stage["steps"],
                "steps_per_second": round(speeds[-1], 2) if speeds else None,
                "checkpoint": f"{workdir / name}@{step}" if step else None,
                "hours": round(sum(found.get("hours", {}).values()), 3),
                "chip_hours": round(found.get("spent", {}).get("chip_seconds", 0.0) / 3600, 4),
            }
        )
    return out


def table(rows: list[dict]) -> str:
    """The rows for a person."""
    head = ("stage", "state", "step", "steps/s", "hours heard", "chip-hours", "checkpoint")
    lines = [head] + [
        (
            r["stage"],
            r["state"],
            f"{r['step']}/{r['steps']}",
            str(r["steps_per_second"] or ""),
            str(r["hours"]),
            str(r["chip_hours"]),
            r["checkpoint"] or "",
        )
        for r in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in lines)
