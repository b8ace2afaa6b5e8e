"""Plants defects, one at a time, and sees whether the tests that cover them notice.

    python tests/mutations/run.py [--only NAME ...]

Each NAME.patch here holds one defect in one source file; the lines above its diff say what it is
(`Defect:`) and which test files cover it (`Tests:`). The tests run in a copy of the working tree,
first as it is, then with the defect: a test that fails either way says nothing. One at a time, at
the lowest priority. What is done already is kept as long as patch, source and tests stay the same.
Writes docs/results/mutations.json and the table in docs/results.md; exits with 1 where fewer than
LEAST defects are caught or one could not be judged.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS, PAGE = "docs/results/mutations.json", "docs/results.md"
BEGIN, END = "<!-- mutations -->", "<!-- end of mutations -->"
LEAST = 18  # of 20
INSIDE = ("configs", "data_pipelines", "launch")  # folders that install inside the package
PATIENCE = 20  # times as long as without the defect, then a test hangs


@dataclasses.dataclass(frozen=True)
class Mutation:
    """A patch and what it says about itself."""

    name: str
    file: str  # that it changes, relative to the root
    defect: str
    tests: tuple[str, ...]
    path: pathlib.Path


def read(path: pathlib.Path) -> Mutation:
    """Reads a patch; raises ValueError where its header or its one file is missing."""
    text = path.read_text()
    header = dict(re.findall(r"^(Defect|Tests): (.+)$", text.partition("\n--- ")[0], re.MULTILINE))
    files = re.findall(r"^\+\+\+ b/(\S+)$", text, re.MULTILINE)
    if set(header) != {"Defect", "Tests"} or len(files) != 1:
        raise ValueError(
            f"{path.name}: expected lines `Defect: ...` and `Tests: ...` above a diff of one file,"
            f" found {sorted(header)} and {files}"
        )
    return Mutation(path.stem, files[0], header["Defect"], tuple(header["Tests"].split()), path)


def mutations() -> list[Mutation]:
    """All of them, by name."""
    return [read(path) for path in sorted(HERE.glob("*.patch"))]


def apply(root: pathlib.Path, paths, *options: str):
    """`git apply` in a folder, whether or not a repository is around it."""
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(root.resolve().parent)}
    command = ["git", "apply", *options, *map(str, paths)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"a patch does not apply; mend it or its context: {done.stderr.strip()}")


def copy(to: pathlib.Path):
    """The working tree as git sees it, laid out so that the copy imports as it installs."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # else it was removed and git does not know yet
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    for folder in INSIDE:
        (to / "seedasr_jax" / folder).symlink_to(f"../{folder}")


def digest(tree: pathlib.Path, tests, patch: str) -> str:
    """Of the patch and all that the tests may read: sources, test helpers, goldens, themselves."""
    found = [p for top in ("seedasr_jax", *INSIDE, "tests") for p in (tree / top).rglob("*")]
    hasher = hashlib.sha256(patch.encode())
    for path in sorted(path for path in found if path.is_file()):
        name = path.relative_to(tree).as_posix()
        foreign = path.name.startswith("test_") and name not in tests
        if not foreign and not name.startswith("tests/mutations/"):
            hasher.update(f"\n{name}\n".encode() + path.read_bytes())
    return hasher.hexdigest()[:16]


def run_tests(tree: pathlib.Path, tests, work: pathlib.Path, limit: float | None) -> dict:
    """Runs test files of a copy up to the first failure.

    Returns:
        outcome (passed, failed, hung, or what went wrong), by (the test that failed), seconds,
        modules (files of ours that were imported).
    """
    report = work / "report.json"
    report.unlink(missing_ok=True)
    paths = (tree, tree / "tests/mutations")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",  # .pyc files of one second and size would be mixed up
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "guard"]
    command += [f"--guard-report={report}", f"--basetemp={work / 'tmp'}"]
    command += ["-o", f"cache_dir={work / 'cache'}", *tests]
    begun = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            output = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what the tests started
    seconds = round(time.monotonic() - begun, 1)
    if output is None:
        return dict(outcome="hung", by="", seconds=seconds, modules=[])
    if process.returncode not in (0, 1) or not report.exists():
        tail = " ".join(output.split()[-40:])
        return dict(outcome=f"pytest: {tail}", by="", seconds=seconds, modules=[])
    found = json.loads(report.read_text())
    outcome = "failed" if process.returncode else "passed"
    by = found["failed"][0] if found["failed"] else ""
    return dict(outcome=outcome, by=by, seconds=seconds, modules=found["modules"])


def plant(mutation: Mutation, plain: pathlib.Path, work: pathlib.Path, limit: float) -> dict:
    """Runs the tests of a defect in a fresh copy; outcome: caught, survived, or what is wrong."""
    tree = work / "mutant"
    shutil.copytree(plain, tree, symlinks=True)
    apply(tree, [mutation.path])
    found = run_tests(tree, mutation.tests, work, limit)
    modules = found.pop("modules")
    shutil.rmtree(tree)
    root = os.path.realpath(tree)
    outside = [path for path in modules if not path.startswith(root + os.sep)]
    if outside:
        return found | {"outcome": f"imported from outside of the copy: {outside[0]}"}
    if modules and os.path.join(root, mutation.file) not in modules:
        return found | {"outcome": f"the tests never import {mutation.file}"}
    said = {"failed": "caught", "hung": "caught", "passed": "survived"}
    return found | {"outcome": said.get(found["outcome"], found["outcome"])}


def table(chosen, results) -> str:
    """The results for docs/results.md."""
    lines = ["| defect | in | caught by | seconds |", "| --- | --- | --- | --- |"]
    for mutation in chosen:
        result = results.get(mutation.name, {"outcome": "not run", "seconds": ""})
        by = result["outcome"]
        if by == "caught":
            by = f"`{result['by'].removeprefix('tests/')}`" if result["by"] else "a test that hung"
        lines.append(f"| {mutation.defect} | `{mutation.file}` | {by} | {result['seconds']} |")
    caught = sum(result["outcome"] == "caught" for result in results.values())
    return f"{caught} of {len(chosen)} are caught.\n\n" + "\n".join(lines)


def save(chosen, plain: dict, results: dict):
    """Writes the raw results, and the table between its markers."""
    path = ROOT / RESULTS
    path.parent.mkdir(parents=True, exist_ok=True)
    tree = {"unmutated": dict(sorted(plain.items())), "mutations": dict(sorted(results.items()))}
    path.with_suffix(".tmp").write_text(json.dumps(tree, indent=1) + "\n")
    os.replace(path.with_suffix(".tmp"), path)
    page = (ROOT / PAGE).read_text()
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE}: expected the lines {BEGIN} and {END}")
    (ROOT / PAGE).write_text(f"{before}{BEGIN}\n{table(chosen, results)}\n{END}{after}")


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = mutations()
    names = [mutation.name for mutation in known]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    only = parser.parse_args(arguments).only
    os.nice(19 - os.nice(0))
    path = ROOT / RESULTS
    tree = json.loads(path.read_text()) if path.exists() else {"unmutated": {}, "mutations": {}}
    plain_results, results = tree["unmutated"], tree["mutations"]
    results = {name: result for name, result in results.items() if name in names}
    plain_results = {
        test: result
        for test, result in plain_results.items()
        if any(test in mutation.tests for mutation in known)
    }
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        work = pathlib.Path(folder)
        plain = work / "plain"
        copy(plain)
        for mutation in (m for m in known if m.name in only):
            for test in mutation.tests:
                now = digest(plain, [test], "")
                if plain_results.get(test, {}).get("hash") != now:
                    found = run_tests(plain, [test], work, None)
                    del found["modules"]
                    plain_results[test] = found | {"hash": now}
            rows = [plain_results[test] for test in mutation.tests]
            failing = [row["by"] or row["outcome"] for row in rows if row["outcome"] != "passed"]
            now = digest(plain, mutation.tests, mutation.path.read_text())
            if results.get(mutation.name, {}).get("hash") != now or failing:
                if failing:
                    found = dict(outcome="fails without it too", by=failing[0], seconds=0.0)
                else:
                    limit = 60 + PATIENCE * sum(row["seconds"] for row in rows)
                    found = plant(mutation, plain, work, limit)
                about = dict(file=mutation.file, defect=mutation.defect, tests=mutation.tests)
                results[mutation.name] = about | found | {"hash": now}
                save(known, plain_results, results)
            found = results[mutation.name]
            print(f"{mutation.name}: {found['outcome']} {found['by']}", flush=True)
    save(known, plain_results, results)
    outcomes = [results.get(name, {}).get("outcome", "not run") for name in names]
    print(f"{outcomes.count('caught')} of {len(names)} are caught")
    judged = all(outcome in ("caught", "survived") for outcome in outcomes)
    return 0 if judged and outcomes.count("caught") >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
