"""Hostile settings for every test: silent broadcasting raises, our own warnings are errors.

Eight fake devices, so that every test may shard. `--parity` adds the tests that need PyTorch,
`--faults`, `--processes`, `--full`, `--digits` and `--quickstart` those that take minutes,
`--browser` those that look at a page with Chromium, `--tpu` those that compile for TPUs,
SEEDASR_TEST_SPEECH those on real recordings, SEEDASR_TEST_MODELS those on weights and tokenizers of
published models. `--rest` leaves out all others.
"""

import dataclasses
import fcntl
import gc
import importlib.metadata
import os
import pickle
import resource
import shutil

gc.disable()  # until all is imported
flags = [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8"]
flags.append("--xla_cpu_parallel_codegen_split_count=1")  # a tenth less to compile
if importlib.metadata.version("jaxlib").startswith("0.10."):
    flags.append("--xla_cpu_use_fusion_emitters=false")  # a third of the compile time; gone in 0.12
    flags.append("--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE")  # a tenth
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(flags).strip()
os.environ["JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS"] = "0"  # a tenth of the time to lower
os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"  # else its folder is part of each key

import forks  # noqa: E402
import jax  # noqa: E402  (the flags above are read when it starts)
import pytest  # noqa: E402

from seedasr_jax.models import layers  # noqa: E402

# File: its option. The longest stand first, and run first where --rest runs nothing else.
ONLY_WITH = {
    "test_whole_quickstart.py": "quickstart",
    "test_digits.py": "digits",
    "test_quickstart.py": "full",
    "test_processes.py": "processes",
    "test_golden_plans.py": "tpu",
    "test_tpu.py": "tpu",
    "test_readme.py": "full",
    "test_more_faults.py": "faults",
    "test_peers.py": "parity",
    "test_benchmarks.py": "full",
    "test_import_memory.py": "full",
    "test_parity.py": "parity",
    "test_real_models.py": "parity",
    "test_page.py": "browser",
}
SPEECH = "SEEDASR_TEST_SPEECH"
MODELS = "SEEDASR_TEST_MODELS"


def pytest_addoption(parser):
    """Adds the options of ONLY_WITH, and --rest."""
    parser.addoption(
        "--parity",
        action="store_true",
        help="also compare with PyTorch and transformers, which must be installed (extra: parity)",
    )
    parser.addoption("--faults", action="store_true", help="also kill training ten times more")
    parser.addoption("--processes", action="store_true", help="also train in 1, 2, 4 processes")
    parser.addoption("--full", action="store_true", help="also quickstart, README, benchmarks")
    parser.addoption("--digits", action="store_true", help="also the recipe digits whole")
    parser.addoption("--quickstart", action="store_true", help="also the quickstart whole")
    parser.addoption("--browser", action="store_true", help="also open pages with Chromium")
    parser.addoption("--tpu", action="store_true", help="also compile for TPUs (extra: tpu)")
    parser.addoption("--rest", action="store_true", help="only what these options add")


def pytest_report_header():
    """Says where real speech is taken from, or that it is not."""
    speech, models = os.environ.get(SPEECH), os.environ.get(MODELS)
    return [
        f"real speech: {speech or f'{SPEECH} is unset: test_real_speech.py is not collected'}",
        f"real models: {models or f'{MODELS} is unset: test_real_models.py is not collected'}",
    ]


def pytest_configure(config):
    """Settings of JAX and of warnings."""
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_disable_most_optimizations", True)  # compiling is most of a test's time
    layers.UNROLLED = 1  # nor are layers unrolled, which makes a program of two a third longer
    # Shared by workers and the processes that tests start. An entry that is read while it is being
    # written fails to unpack, and JAX compiles.
    jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    config.addinivalue_line("filterwarnings", r"error:::seedasr_jax(\.|$)")
    config.addinivalue_line("markers", "parity: compares with a live PyTorch; see --parity")


def pytest_ignore_collect(collection_path, config):
    """Leaves out what was not asked for."""
    wanted = {"test_real_speech.py": (SPEECH,), "test_real_models.py": (SPEECH, MODELS)}
    if any(name not in os.environ for name in wanted.get(collection_path.name, ())):
        return True
    option = ONLY_WITH.get(collection_path.name)
    if option:
        return None if config.getoption(option) else True
    added_only = config.getoption("rest") and collection_path.name.startswith("test_")
    return True if added_only else None


def pytest_collection_modifyitems(config, items):
    """Two workers end together if what takes longest begins first."""
    if config.getoption("rest"):
        items.sort(key=lambda item: list(ONLY_WITH).index(item.path.name))


def pytest_collection_finish(session):
    """What was imported stays: collecting it over and over is a part of the time to trace."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 20)  # tracing makes and keeps many small objects


def pytest_sessionfinish():
    """What was forked is counted below."""
    forks.stop()


def pytest_terminal_summary(terminalreporter):
    """The processor seconds of this process and of all that it started, workers included."""
    whole = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(used.ru_utime + used.ru_stime for used in whole)
    terminalreporter.write_line(f"processor seconds: {seconds:.0f}")


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """once(make): what `make(folder)` returns; made by one worker, pickled for the others."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def call(make):
        place = folder / f"once-{make.__module__}-{make.__name__}"
        done = place / "returned.pickle"
        with open(f"{place}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                done.write_bytes(pickle.dumps(make(place)))
        return pickle.loads(done.read_bytes())

    return call


@pytest.fixture(scope="session")
def trained(once, tmp_path_factory):
    """A graph of three small stages, trained in this process (tones.py); read only.

    Trained once for all workers, each of which has a workdir of its own.
    """
    import tones

    shared = once(tones.train)
    workdir = tmp_path_factory.mktemp("trained") / "workdir"
    shutil.copytree(shared.workdir, workdir)
    return dataclasses.replace(shared, workdir=workdir)


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy of the trained workdir, to change."""
    return shutil.copytree(trained.workdir, tmp_path / "workdir")


@pytest.fixture
def one_device():
    """Stages train on one of the eight devices, as those of `trained` did."""
    import tones

    with tones.on_one_device():
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """The manifest of `streams.COUNT` recordings; read only."""
    import streams

    return streams.corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """A tokenizer of the characters of the recordings' words."""
    import streams

    return streams.tokenizer(tmp_path_factory.mktemp("vocab"))


@pytest.fixture
def opened(tokenizer):
    """opened(*sources, **settings): a training stream, closed after the test."""
    import streams

    with streams.opening(tokenizer) as open_stream:
        yield open_stream
