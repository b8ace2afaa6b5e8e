"""Values of all parameters after short trainings, to hold two commits against each other.

    python tests/values.py --out=before.json       # in a checkout of one commit
    python tests/values.py --out=after.json        # in one of another
    python tests/values.py --compare before.json after.json [--renamed=docs/renamed.json]

Four graphs train whole: the recipe `commands` at scale_steps 0.01, `digits` at 0.02, and a tiny
graph of the paper's form with a stage of every kind (paper_recipe.py) on one and on eight devices.
Of each stage the hash of each parameter is written, as it begins where it is fresh and as it ends,
and the losses of the first 20 steps. A quarter of an hour on two cores.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = 20  # whose losses are kept
TOLERANCE = 1e-5  # of losses, where values differ
GRAPHS = {  # name: (recipe, changes, devices)
    "commands": ("commands", {"scale_steps": 0.01}, 1),
    "digits": ("digits", {"scale_steps": 0.02}, 1),
    "paper": (f"{ROOT}/tests/paper_recipe.py", {}, 1),
    "paper on 8 devices": (f"{ROOT}/tests/paper_recipe.py", {"mesh.data": 2, "mesh.fsdp": 4}, 8),
}


def environment(devices: int) -> dict:
    """Of a process that runs this checkout on so many devices of the CPU."""
    flags = f"--xla_force_host_platform_device_count={devices}" if devices > 1 else ""
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    return os.environ | dict(PYTHONPATH=path, XLA_FLAGS=flags, JAX_PLATFORMS="cpu")


def data(folder) -> pathlib.Path:
    """Tones with keywords, and the same without text."""
    import recordings
    import tones

    manifest = tones.write(folder, 24)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    recordings.manifest(manifest, [r | {"keywords": r["text"].split()[:1]} for r in rows])
    recordings.manifest(manifest.with_name("speech.jsonl"), [{"audio": r["audio"]} for r in rows])
    return manifest


def train(name, folder, cache) -> dict:
    """Trains a graph; {stage: {"fresh": hashes, "final": hashes, "loss": of the first steps}}."""
    recipe, changes, devices = GRAPHS[name]
    if recipe.endswith(".py"):
        recipe += f":{data(folder / 'data')}"
    flags = {"run.log_every": 1, "run.cache": cache} | changes
    command = [sys.executable, "-m", "seedasr_jax.launch.cli", "train", f"--config={recipe}"]
    command += [f"--workdir={folder / 'workdir'}"]
    command += [f"--config.{key}={value}" for key, value in flags.items()]
    if name == "commands":  # some of its stages state their own interval
        short = ("ssl1", "probe", "kmeans", "ssl2", "sft", "context_sft", "rl")
        command += [f"--config.stages.{stage}.run.log_every=1" for stage in short]
    subprocess.run(command, env=environment(devices), check=True, cwd=folder)
    read = [sys.executable, __file__, f"--read={folder / 'workdir'}"]
    done = subprocess.run(read, env=environment(1), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def read(workdir) -> dict:
    """What `train` returns, of a workdir that is finished."""
    import jax

    from seedasr_jax import checkpoint, config
    from seedasr_jax import workdir as disk
    from seedasr_jax.decode import recogniser
    from seedasr_jax.launch import recipes
    from seedasr_jax.text import vocab
    from seedasr_jax.train import build

    graph, out = recipes.stored(workdir), {}
    tokenizer = vocab.open_vocabulary(workdir / disk.VOCAB)
    for name, stage in graph.stages.items():
        tokens = recogniser.special_tokens(tokenizer, stage.model.prompt)
        found = checkpoint.open_checkpoint(workdir / name)
        final = {}
        for part in found.parts():
            final |= hashes(found.read(part, found.shapes(part)))
        alone = dataclasses.replace(found.stage, mesh=config.Mesh(1, 1, 1, 1))  # draws know no mesh
        first = build.build(alone, tokens, tokenizer.size, jax.devices()[:1]).fresh()
        drawn = checkpoint.flat(first.params) | checkpoint.flat(first.frozen)
        fresh = {part for part, source in stage.init.items() if source == "fresh"}
        drawn = {key: x for key, x in drawn.items() if checkpoint.part_of(key) in fresh}
        rows = disk.read_rows(workdir / name / disk.METRICS, "step")
        loss = [row["loss"] for row in rows if row["step"] <= STEPS]
        out[name] = {"fresh": hashes(drawn), "final": final, "loss": loss}
    return out


def hashes(leaves) -> dict[str, str]:
    """{name: hash of type, shape and bytes}."""

    def one(x):
        x = np.asarray(x)
        return hashlib.sha256(f"{x.dtype} {x.shape}".encode() + x.tobytes()).hexdigest()[:16]

    return {name: one(x) for name, x in leaves.items()}


def compare(before: dict, after: dict, names: dict) -> list[str]:
    """Lines that say what differs; `names`: ends of parameters' names, old -> new."""

    def renamed(name):
        for old, new in names.items():
            name = name.replace(f".{old}.", f".{new}.")
        return name

    lines = []
    for graph in {**before, **after}:
        own, other = (found.get(graph, {}) for found in (before, after))
        for stage in {**own, **other}:
            where = f"{graph}: {stage}"
            if stage not in own or stage not in other:
                lines.append(
                    f"{where}: values in the {'first' if stage in own else 'second'} file only"
                )
                continue
            was, now = own[stage], other[stage]
            for when in ("fresh", "final"):
                old = {renamed(name): value for name, value in was[when].items()}
                changed = [n for n in {**old, **now[when]} if old.get(n) != now[when].get(n)]
                if changed:
                    shown = f"{len(changed)} of {len(old)} differ, such as {changed[0]}"
                    lines.append(f"{where}: {when} values: {shown}")
            pairs = zip(was["loss"], now["loss"], strict=True)
            worst = max(abs(a - b) / max(abs(a), 1e-9) for a, b in pairs)
            if worst:
                lines.append(f"{where}: loss differs by {worst:.1e} of it at most")
            if worst > TOLERANCE:
                lines[-1] += f", above {TOLERANCE:g}"
    return lines


def main(arguments=None) -> int:
    """Writes, reads or compares."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", help="trains, and writes what was found there")
    parser.add_argument("--graphs", default=",".join(GRAPHS), help="of them, by commas")
    parser.add_argument("--cache", default="", help="folder of speech that was made; kept")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--compare", nargs=2, metavar="FILE", help="two files; 1 if they differ")
    parser.add_argument("--renamed", help="a table of names, old -> new")
    asked = parser.parse_args(arguments)
    if asked.read:
        print(json.dumps(read(pathlib.Path(asked.read))))
        return 0
    if asked.compare:
        before, after = (json.loads(pathlib.Path(path).read_text()) for path in asked.compare)
        table = json.loads(pathlib.Path(asked.renamed).read_text()) if asked.renamed else {}
        lines = compare(before, after, table.get("parameters", {}))
        print("\n".join(lines) or f"the same values in {', '.join(before)}")
        return int(any("values" in line or "above" in line for line in lines))
    found = {}
    for name in asked.graphs.split(","):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            found[name] = train(name, folder, asked.cache or folder / "cache")
        pathlib.Path(asked.out).write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
