"""Packaging: one package. The folders beside the core are links inside it, so that short names
collide with nothing elsewhere, and tools that read code find each module under its own name.
"""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "seedasr_jax/__init__.py").read_text())[1]

setup(
    name="seedasr_jax",
    version=VERSION,
    description="Audio-conditioned LLM speech recognition (Seed-ASR) in JAX, for pods and laptops",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["seedasr_jax*"]),
    install_requires=[
        "etils[epath]",
        "jax>=0.10",
        "flax>=0.12",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "ml-collections",
        "numpy",
        "rapidfuzz",
        "safetensors",
        "sentencepiece",
        "seqio",
        "soundfile",
        "soxr",
        "tensorboardX",
        "tensorflow",
        "tensorflow-datasets",
        "tokenizers",
    ],
    extras_require={
        "test": [
            "pytest",
            "pytest-cov",
            "pytest-xdist",
            "ruff",
            "scipy",
            "setuptools>=77",
            "wheel",
        ],
        "synth": ["espeakng-loader"],
        "tpu": ["jax[tpu]"],
        "gpu": ["jax[cuda12]"],
        # apache-beam lowers protobuf to 6, and SeqIO then needs the older sentencepiece.
        "beam": ["apache-beam", "sentencepiece<0.2.3"],
        "parity": ["torch==2.13.0", "transformers"],
        "bench": ["torch==2.13.0", "transformers"],
    },
    entry_points={"console_scripts": ["seedasr = seedasr_jax.launch.cli:main"]},
)
