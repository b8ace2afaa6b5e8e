"""Words that are tones, and what a small graph learns from them in seconds. Dims: S samples."""

import dataclasses
import pathlib
from unittest import mock

import jax
import numpy as np
import recordings

from seedasr_jax import checkpoint
from seedasr_jax.audio import files
from seedasr_jax.launch import recipes
from seedasr_jax.parallel import mesh as meshes

RECIPE = str(pathlib.Path(__file__).parent / "tones_recipe.py")
LINEAR = dict(  # changes: an encoder of one linear layer, which compiles in half the time
    imports="('outside_encoder_options',)",
    model__encoder="{'kind': 'thirteen', 'patch': 16, 'frontend':"
    " {'kind': 'energies', 'hop': 80, 'width': 8}}",
)
HERTZ = {"low": 300.0, "mid": 700.0, "high": 1_500.0, "top": 3_000.0}
SECONDS, PAUSE = 0.16, 0.06  # of a word; of silence around each


def wave(text: str, seed: int = 0) -> np.ndarray:
    """[S] int16: each word's tone, of random level and phase, in noise."""
    rng = np.random.default_rng(seed)
    silence = np.zeros(round(PAUSE * files.RATE))
    time = np.arange(round(SECONDS * files.RATE)) / files.RATE
    pieces = [silence]
    for word in text.split():
        phase, level = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.4)
        pieces += [level * np.sin(2 * np.pi * HERTZ[word] * time + phase), silence]
    sound = np.concatenate(pieces)
    return files.to_int16(sound + rng.normal(0, 0.003, len(sound)))


def texts(count: int, seed: int) -> list[str]:
    """Texts of one to three words."""
    rng = np.random.default_rng(seed)
    names = list(HERTZ)
    return [" ".join(rng.choice(names, rng.integers(1, 4))) for _ in range(count)]


def write(folder, count: int, seed: int = 0, name="tones.jsonl") -> pathlib.Path:
    """Writes audio and manifest; returns the manifest's path."""
    rows = []
    for number, text in enumerate(texts(count, seed)):
        sound = wave(text, seed * 1_000 + number)
        audio = f"audio-{seed}/t{number:03}.wav"
        path = pathlib.Path(folder) / audio
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, sound, files.RATE)
        rows.append(
            {
                "id": f"t{number:03}",
                "audio": audio,
                "duration": len(sound) / files.RATE,
                "text": text,
                "speaker": ("ann", "bob")[number % 2],
                "lang": "en",
            }
        )
    return recordings.manifest(pathlib.Path(folder) / name, rows)


def graph(manifest, **changes):
    """The recipe's graph; `changes` are keys with "__" for dots, written as on a command line."""
    overrides = [(key.replace("__", "."), str(value)) for key, value in changes.items()]
    return recipes.expand(f"{RECIPE}:{manifest}", overrides)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished workdir, the manifest behind it, and new recordings of the same words."""

    workdir: pathlib.Path
    manifest: pathlib.Path
    test: pathlib.Path
    changes: dict  # of the recipe

    def graph(self, **changes):
        """The graph that was trained, with changes."""
        return graph(self.manifest, **(self.changes | changes))


def on_one_device():
    """A context in which stages take one of the tests' eight devices: half as long to compile."""
    make = meshes.make
    return mock.patch.object(
        meshes, "make", lambda mesh, devices=None: make(mesh, devices or jax.devices()[:1])
    )


def train(folder) -> Trained:
    """Trains the graph on one device of this process, until it knows its four words."""
    from seedasr_jax.launch import run  # late: it brings TensorFlow

    changes = {f"stages__{name}__steps": n for name, n in (("lm", 60), ("ctc", 40), ("sft", 60))}
    changes |= dict(run__log_every=10, run__save_every=20, stages__ctc__eval__every=0)
    manifest = write(folder / "data", 48)
    test = write(folder / "data", 20, seed=1, name="test.jsonl")
    trained = Trained(folder / "workdir", manifest, test, changes)
    with on_one_device():
        assert run.train(trained.graph(), trained.workdir) == 0
    learned_contexts(trained.workdir / "sft", 16)
    return trained


def learned_contexts(folder, tokens: int):
    """Lets a stage's record say that it learned contexts, which would take longer."""
    record = checkpoint.read(folder)
    limits = dataclasses.replace(record.limits, context_tokens=tokens)
    checkpoint.write(folder, dataclasses.replace(record, limits=limits))
