"""Copies of parts whose checkpoint will be removed by the training that wrote it.

WORKDIR/frozen/PART-RECIPE is a bundle of one part, for all stages that start from it; RECIPE is a
hash of its training recipe. sources.json maps the paths of `init`, also deleted ones, to copies.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

from seedasr_jax import checkpoint as checkpoints
from seedasr_jax import config, inventory
from seedasr_jax import workdir as disk
from seedasr_jax.convert import bundle
from seedasr_jax.errors import DONE, UserError
from seedasr_jax.launch import exits
from seedasr_jax.launch.progress import say
from seedasr_jax.parallel import processes


def of(workdir: pathlib.Path, where: str, part: str) -> checkpoints.Checkpoint | None:
    """The copy of a part of the checkpoint at a path, or None.

    Raises:
        UserError: the copy is damaged.
    """
    name = _sources(workdir).get(f"{where}:{part}")
    place = workdir / disk.FROZEN / str(name)
    return checkpoints.open_checkpoint(place) if name and place.exists() else None


def make(workdir: pathlib.Path, where: str, part: str, found: checkpoints.Checkpoint):
    """Copies a part of `found`, the checkpoint at the path `where` of `init`, unless a copy exists.

    Only process 0 calls this. Reading a checkpoint is collective over the processes of JAX: if
    there are several, a separate process, which JAX has not connected to them, makes the copy.
    """
    name = f"{part}-{config.digest([found.recipe])[:8]}"
    place, known = workdir / disk.FROZEN / name, _sources(workdir)
    if known.get(f"{where}:{part}") != name:
        place.parent.mkdir(exist_ok=True)
        disk.write_json(place.parent / disk.SOURCES, known | {f"{where}:{part}": name})
    if place.exists():
        try:
            return checkpoints.open_checkpoint(place)
        except UserError as error:
            say(f"{error}; copying it again")
            shutil.rmtree(place)
    say(f"copying {part} to {place}: training in {found.folder} will remove step {found.step}")
    one = checkpoints.to_dict(found), str(place), part
    if processes.is_alone():
        _copy(*one)
    else:
        _copy_apart(*one)
    inventory.trust(place)  # supersedes an earlier verdict on this path
    return checkpoints.open_checkpoint(place)


def _sources(workdir) -> dict:
    """PATH:PART -> name of the copy."""
    path = workdir / disk.FROZEN / disk.SOURCES
    return disk.read_json(path, "; put it back, or remove it") if path.exists() else {}


def _copy(source: dict, place: str, part: str):
    """Copies a part of a checkpoint, given as its `checkpoints.to_dict`."""
    bundle.export_bundle(checkpoints.from_dict(source), place, parts=(part,))


def _copy_apart(*one):
    """`_copy` in a separate process on the CPU: the job occupies the accelerators."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__],
        input=json.dumps(one),
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"copying failed: exit code {done.returncode}"]
        raise UserError(lines[-1].removeprefix("seedasr: "))


def _main() -> int:
    """Copies the part described on stdin."""
    try:
        _copy(*json.load(sys.stdin))
    except (UserError, OSError) as error:
        if (code := exits.code(error)) is None:
            raise
        return code
    return DONE


if __name__ == "__main__":
    sys.exit(_main())
