"""A wheel built from the tree works from an empty folder, and holds no tests."""

import os
import pathlib
import shutil
import site
import subprocess
import sys
import venv
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("seedasr_jax", "configs", "data_pipelines", "launch", "tests", "docs", "benchmarks")


def run(*command, cwd):
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, capture_output=True, text=True, env={"PATH": "/usr/bin"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, for building writes beside the source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
        elif path.name in FOLDERS:
            ignored = shutil.ignore_patterns("__pycache__", "golden")
            shutil.copytree(path, source / path.name, ignore=ignored)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "wheel", *options, "-w", folder, source, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment that has the wheel, and sees what it needs of ours."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    options = ("--no-deps", "--no-index", "--disable-pip-version-check")
    python = folder / "bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Paths in a .pth file are added as they are: our own editable install stays out of sight.
    (packages / "needs.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder


def test_the_wheel_holds_the_four_folders_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"seedasr_jax"}
    for name in (
        "configs/digits",
        "data_pipelines/manifest",
        "data_pipelines/synth/spoken/english",
    ):
        assert f"seedasr_jax/{name}.py" in names
    for name in ("launch/cli", "train/step", "convert/bundle"):
        assert f"seedasr_jax/{name}.py" in names
    assert not [name for name in names if "test" in name or "golden" in name]
    assert not [name for name in names if name.startswith(("launch", "configs", "data_pipelines"))]
    assert [name for name in names if name.endswith("LICENSE")]
    assert [name for name in names if name.endswith("NOTICE")]


def test_every_module_of_the_tree_is_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in FOLDERS[:4]:
        for path in (ROOT / folder).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            assert (name if folder == "seedasr_jax" else f"seedasr_jax/{name}") in names


def test_tools_that_only_read_folders_find_every_module():
    """Go-to-definition and import graphs follow no import hook, and a clone may stand anywhere."""
    for folder in FOLDERS[1:4]:
        assert os.readlink(ROOT / "seedasr_jax" / folder) == f"../{folder}"
    code = (
        "from importlib.machinery import PathFinder\n"
        f"spec = PathFinder.find_spec('seedasr_jax', [{str(ROOT)!r}])\n"
        "for name in ('configs', 'data_pipelines', 'launch'):\n"
        "    inside = PathFinder.find_spec(name, spec.submodule_search_locations)\n"
        "    assert inside is not None, name\n"
        "print(PathFinder.find_spec('cli', inside.submodule_search_locations).origin)\n"
    )
    found = run(sys.executable, "-I", "-S", "-c", code, cwd="/").strip()
    assert found == str(ROOT / "seedasr_jax/launch/cli.py")


def test_the_command_works_from_an_empty_folder(installed, tmp_path):
    seedasr = installed / "bin/seedasr"
    assert "train" in run(seedasr, "--help", cwd=tmp_path)
    assert "stages.sft.kind = 'sft'" in run(seedasr, "configs", "digits", cwd=tmp_path)
    run(seedasr, "configs", "digits", "--copy=mine.py", cwd=tmp_path)
    assert (tmp_path / "mine.py").read_text() == (ROOT / "configs/digits.py").read_text()


def test_all_folders_import_from_where_they_are_installed(installed, tmp_path):
    code = (
        "import seedasr_jax, seedasr_jax.configs.common, seedasr_jax.launch.cli\n"
        "import seedasr_jax.data_pipelines.manifest\n"
        "from importlib.metadata import version\n"
        "print(seedasr_jax.__file__, seedasr_jax.configs.__file__, seedasr_jax.launch.__file__,"
        " seedasr_jax.data_pipelines.__file__, version('seedasr_jax') == seedasr_jax.__version__)"
    )
    *paths, same = run(installed / "bin/python", "-c", code, cwd=tmp_path).split()
    assert all(path.startswith(str(installed)) for path in paths)
    assert same == "True"
