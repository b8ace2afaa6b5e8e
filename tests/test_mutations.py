"""The planted defects: twenty, each in another source file, each fit for the sources of today.

`make mutations` runs the tests against them.
"""

import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "mutations"))
import run

MUTATIONS = run.mutations()


def test_each_of_twenty_changes_another_source_file():
    assert len({mutation.file for mutation in MUTATIONS}) == len(MUTATIONS) == 20
    for mutation in MUTATIONS:
        assert mutation.file.split("/")[0] in ("seedasr_jax", "data_pipelines", "launch")


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_defect_names_tests_that_exist_and_says_what_it_is(mutation):
    assert len(mutation.defect.split()) > 3
    for test in mutation.tests:
        assert (run.ROOT / test).is_file() and test.startswith("tests/test_")


def test_all_apply_to_the_sources_of_today():
    run.apply(run.ROOT, [mutation.path for mutation in MUTATIONS], "--check")


def test_a_patch_without_its_header_or_of_two_files_is_refused(tmp_path):
    text = MUTATIONS[0].path.read_text()
    for wrong in (text.replace("Defect:", "Bug:"), text.replace("Tests:", "Test:"), text + text):
        (tmp_path / "wrong.patch").write_text(wrong)
        with pytest.raises(ValueError, match=r"wrong\.patch: expected"):
            run.read(tmp_path / "wrong.patch")


def test_a_patch_that_no_longer_fits_is_noticed(tmp_path):
    with pytest.raises(ValueError, match="does not apply"):
        run.apply(tmp_path, [MUTATIONS[0].path], "--check")


def test_a_copy_imports_as_it_installs_and_changes_its_hash_with_its_content(tmp_path):
    run.copy(tmp_path)
    assert (tmp_path / "seedasr_jax/data_pipelines/index.py").is_file()
    tests = ["tests/test_index.py"]
    before = run.digest(tmp_path, tests, "")
    assert before == run.digest(tmp_path, tests, "") != run.digest(tmp_path, tests, "patch")
    (tmp_path / "tests/test_score.py").write_text("# none of the tests in question")
    assert run.digest(tmp_path, tests, "") == before
    run.apply(tmp_path, [MUTATIONS[0].path])
    assert run.digest(tmp_path, tests, "") != before


def test_the_table_says_by_which_test_each_was_caught():
    caught = {"outcome": "caught", "by": "tests/test_index.py::test_x", "seconds": 1.5}
    survived = {"outcome": "survived", "by": "", "seconds": 2.0}
    found = run.table(MUTATIONS[:3], {MUTATIONS[0].name: caught, MUTATIONS[1].name: survived})
    assert found.startswith("1 of 3 are caught.")
    rows = found.splitlines()[4:]
    assert "| `test_index.py::test_x` | 1.5 |" in rows[0] and f"`{MUTATIONS[0].file}`" in rows[0]
    assert "| survived | 2.0 |" in rows[1] and "| not run |" in rows[2]


TESTS = {
    "fails": ("from seedasr_jax import one\n\ndef test(): assert one.ONE == 2", "caught"),
    "hangs": ("from seedasr_jax import one\n\ndef test():\n  while True: pass", "caught"),
    "misses": ("import seedasr_jax\n\ndef test(): pass", "the tests never import"),
    "strays": ("import sys\nsys.path.insert(0, {outside!r})\nimport seedasr_jax", "imported from"),
}


@pytest.mark.parametrize("name", TESTS)
def test_what_is_said_of_a_defect(tmp_path, name):
    content, outcome = TESTS[name]
    patch = tmp_path / "two.patch"
    patch.write_text(
        "--- a/seedasr_jax/one.py\n+++ b/seedasr_jax/one.py\n@@ -1 +1 @@\n-ONE = 0\n+ONE = 1\n"
    )
    for folder in ("plain", "outside"):
        (tmp_path / folder / "seedasr_jax").mkdir(parents=True)
        (tmp_path / folder / "seedasr_jax/__init__.py").touch()
        (tmp_path / folder / "seedasr_jax/one.py").write_text("ONE = 0\n")
    plain = tmp_path / "plain"
    (plain / "tests/mutations").mkdir(parents=True)
    shutil.copy(run.HERE / "guard.py", plain / "tests/mutations")
    content = content.format(outside=str(tmp_path / "outside"))
    (plain / "tests/test_it.py").write_text(content + "\n\ndef test_nothing(): pass\n")
    mutation = run.Mutation("two", "seedasr_jax/one.py", "", ("tests/test_it.py",), patch)
    limit = 1.0 if name == "hangs" else 60.0
    found = run.plant(mutation, plain, tmp_path, limit)
    assert found["outcome"].startswith(outcome)
    assert found["by"] == ("tests/test_it.py::test" if name == "fails" else "")
