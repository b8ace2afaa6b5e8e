"""Who may import whom, read from every import; and the core without TensorFlow."""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORE = ROOT / "seedasr_jax"

# A package imports what stands in an earlier row; those of one row never import each other.
ROWS = (
    ("errors", "quiet"),
    ("filesystem", "tables", "skipped"),
    ("workdir",),
    ("batch", "config", "inventory", "shapes"),
    ("small",),  # its options; its models and objectives stand with those that they are beside
    ("parallel",),
    ("audio", "text", "losses", "quantize"),
    ("models",),
    ("small.models",),
    ("flops", "checkpoint"),
    ("decode",),
    ("train",),
    ("small.objectives",),
    ("evaluate", "convert", "plan"),
)
BESIDE = ("configs", "data_pipelines", "launch")
LEVEL = {name: level for level, row in enumerate(ROWS) for name in row}
# The three folders beside the core: what of it they may use.
OUTSIDE = {
    "data_pipelines": {
        "errors",
        "quiet",
        "filesystem",
        "workdir",
        "tables",
        "skipped",
        "batch",
        "config",
    }
    | {"audio", "text", "data_pipelines"},
    "configs": {"configs", "errors"},
}


@functools.cache
def imports(path):
    """(package, whole name) of each import of our own."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "seedasr_jax" and len(parts) > 1:
                found.append((_package(parts[1:]), name))
    return found


def _package(parts):
    """The package of a module; those of `small` stand in rows of their own."""
    inside = parts[0] == "small" and parts[1:2] and parts[1] in ("models", "objectives")
    return ".".join(parts[: 1 + bool(inside)])


def modules(folder):
    return sorted(path for path in folder.rglob("*.py"))


@pytest.mark.parametrize("path", modules(CORE), ids=lambda p: str(p.relative_to(ROOT)))
def test_core_imports_only_what_stands_before_it(path):
    relative = path.relative_to(CORE)
    own = _package([part.removesuffix(".py") for part in relative.parts])
    if own == "__init__":
        return  # `load`, late
    assert own in LEVEL, f"{own} stands in no row"
    for package, name in imports(path):
        if package in (own, "__version__"):
            continue
        assert package in LEVEL, f"{path}: {name}: the core never imports {package}"
        assert LEVEL[package] < LEVEL[own], f"{path}: {name} stands beside or after {own}"
        small = package.startswith("small") and not own.startswith("small")
        assert not small, f"{path}: {name}: `small` is reached through registries alone"


@pytest.mark.parametrize("folder", sorted(OUTSIDE))
def test_folders_beside_the_core(folder):
    for path in modules(ROOT / folder):
        for package, name in imports(path):
            assert package in OUTSIDE[folder], f"{path}: {name}"
            if package == "audio":
                assert name.startswith(("seedasr_jax.audio.files", "seedasr_jax.audio.pauses"))


def test_no_folder_imports_launch():
    for folder in (CORE, ROOT / "configs", ROOT / "data_pipelines"):
        for path in modules(folder):
            assert "launch" not in {package for package, _ in imports(path)}, path


def files():
    """Every module's name -> its file: of a package, its __init__.py."""
    folders = {"seedasr_jax": CORE} | {f"seedasr_jax.{f}": ROOT / f for f in BESIDE}
    found = {}
    for package, folder in folders.items():
        for path in modules(folder):
            own = (package, *path.relative_to(folder).with_suffix("").parts)
            found[".".join(own).removesuffix(".__init__")] = path
    return found


def test_no_circle_of_files():
    """A module is in a circle if it is reached from what it imports, late imports included."""
    known = files()

    def module(name):
        while name not in known:
            name = name.rpartition(".")[0]
        return name

    follows = {
        name: {module(imported) for _, imported in imports(path)} - {name}
        for name, path in known.items()
    }

    def reached(name):
        seen, waiting = set(), [name]
        while waiting:
            new = follows[waiting.pop()] - seen
            seen |= new
            waiting += new
        return seen

    circles = [name for name in known if name in reached(name)]
    assert not circles


def test_package_import_is_light():
    code = "import sys, seedasr_jax; print('jax' in sys.modules, 'numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.split() == ["False", "False"]


def test_a_step_is_built_of_few_files_and_the_core_imports_without_tensorflow():
    """Other kinds of stages, decoding and text are imported where they are used.

    Every module of the core is imported in a process in which TensorFlow cannot be.
    """
    names = [
        ".".join(("seedasr_jax", *path.relative_to(CORE).with_suffix("").parts))
        for path in modules(CORE)
        if path.name != "__init__.py"
    ]
    code = "\n".join(
        [
            "import importlib, sys",
            "for name in ('tensorflow', 'seqio', 'tensorflow_datasets', 'espeakng_loader'):",
            "    sys.modules[name] = None  # importing it raises",
            "import seedasr_jax.train.build",
            "print(*(name for name in sys.modules if name.startswith('seedasr_jax.')))",
            f"for name in {names!r}: importlib.import_module(name)",
        ]
    )
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd="/")
    found = [CORE.joinpath(*name.split(".")[1:]) for name in out.stdout.split()]
    files = [path for path in found if not path.is_dir() or (path / "__init__.py").stat().st_size]
    assert 20 < len(files) <= 50, sorted(files)


# Of the devices of `small`: as options, kinds and classes spell them.
DEVICES = (
    r"ctc_onsets|ctc_posteriors|clocked|attending|copying_lm|dense_ssl|phone_head|PhoneHead"
    r"|local_luise|MeanConverter|\.spelled|spelled=|speech_position|transcript_position"
    r"|converter_input|phones"
)


def test_the_core_names_no_device_of_small():
    found = [
        f"{path}: {line.strip()}"
        for path in modules(CORE)
        if "small" not in path.relative_to(CORE).parts
        for line in path.read_text().splitlines()
        if re.search(DEVICES, line)
    ]
    assert not found
