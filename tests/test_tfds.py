"""TFDS: data sets built here are converted to a manifest with audio."""

import json
import shutil

import numpy as np
import pytest
import recordings

from seedasr_jax.audio import files
from seedasr_jax.data_pipelines import sources
from seedasr_jax.data_pipelines import tfds as tfds_source
from seedasr_jax.data_pipelines.tf import tensorflow_datasets as tfds
from seedasr_jax.errors import ConfigError, DataError


class SpokenTest(tfds.core.GeneratorBasedBuilder):
    """The features of `spoken_digit`."""

    VERSION = tfds.core.Version("1.2.3")

    def _info(self):
        features = {
            "audio": tfds.features.Audio(file_format="wav", sample_rate=8_000),
            "audio/filename": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=list(recordings.WORDS)),
            "speaker": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(5), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for number in range(count):
            yield (
                number,
                {
                    "audio": np.arange(1_000 + number, dtype=np.int64) - 500,
                    "audio/filename": f"{number}.wav",
                    "label": number,
                    "speaker": f"s{number % 2}",
                },
            )


class SilentTest(SpokenTest):
    """No audio at all."""

    def _info(self):
        features = {"speaker": tfds.features.Text()}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _generate_examples(self, count):
        yield 0, {"speaker": "s"}


class RatelessTest(SpokenTest):
    """Audio without a stated sample rate."""

    def _info(self):
        features = {"audio": tfds.features.Audio(), "text": tfds.features.Text()}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _generate_examples(self, count):
        yield 0, {"audio": np.arange(1_000, dtype=np.int64), "text": "one"}


class WideTest(RatelessTest):
    """Integers of more than 16 bit."""

    def _info(self):
        audio = tfds.features.Audio(sample_rate=8_000)
        features = {"audio": audio, "text": tfds.features.Text()}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _generate_examples(self, count):
        yield 0, {"audio": np.arange(1_000, dtype=np.int64) << 10, "text": "one"}


class PiecesTest(RatelessTest):
    """Audio that was cut from longer recordings; one text is not UTF-8."""

    def _info(self):
        features = {
            "audio": tfds.features.Audio(sample_rate=8_000),
            "text": tfds.features.Text(),
            "begin_time": tfds.features.Scalar(np.float32),
            "end_time": tfds.features.Scalar(np.float32),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _generate_examples(self, count):
        for number, text in enumerate((b"one", b"caf\xe9")):
            times = {"begin_time": 0.05, "end_time": 0.1}
            yield number, {"audio": np.arange(1_000, dtype=np.int64), "text": text} | times


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def test_rows_and_audio(home, tmp_path):
    source = sources.open_source(f"tfds:spoken_test@{home}", tmp_path)
    rows = sorted(source.rows(), key=lambda row: row.text)
    assert sorted(row.text for row in rows) == sorted(recordings.WORDS[:5])
    by_text = {row.text: row for row in rows}
    for number in range(5):
        row = by_text[recordings.WORDS[number]]
        assert row.speaker == f"s{number % 2}" and row.id.startswith(f"{number}.wav-")
        assert row.seconds == (1_000 + number) / 8_000
        wave = files.read(row.audio)
        assert len(wave) == 2 * (1_000 + number)  # 8 kHz read at 16 kHz
    assert source.name == f"tfds:spoken_test#{source.name[-8:]}"


def test_written_once_and_apart_by_split(home, tmp_path):
    source = sources.open_source(f"tfds:spoken_test@{home}?split=test", tmp_path)
    assert len(source.rows()) == 2
    (manifest,) = tmp_path.rglob("manifest.jsonl")
    assert manifest.parent.name == "test" and "1.2.3" in str(manifest)
    before = manifest.stat().st_mtime_ns
    again = sources.open_source(f"tfds:spoken_test@{home}?split=test", tmp_path)
    assert again == source and manifest.stat().st_mtime_ns == before
    assert not list(tmp_path.rglob("*.partial"))
    assert json.loads(manifest.read_text().splitlines()[0])["label"] in recordings.WORDS


def test_bounds_of_the_original_recording_are_ignored(home, tmp_path):
    rows = sources.open_source(f"tfds:pieces_test@{home}", tmp_path).rows()
    rows = sorted(rows, key=lambda row: row.fault)
    assert [(row.offset, row.seconds, row.fault) for row in rows] == [
        (0.0, 0.125, ""),
        (0.0, 0.125, "text that is not Unicode"),
    ]


def test_errors(home, tmp_path):
    with pytest.raises(ConfigError, match=r"has no 'spoken_tst'.*Did you mean spoken_test"):
        sources.open_source(f"tfds:spoken_tst@{home}", tmp_path)
    with pytest.raises(
        ConfigError, match=r"split: expected one of train, test, found 'tain'.*Did you mean train"
    ):
        sources.open_source(f"tfds:spoken_test@{home}?split=tain", tmp_path)
    with pytest.raises(DataError, match="expected an audio feature, found speaker"):
        sources.open_source(f"tfds:silent_test@{home}", tmp_path)
    with pytest.raises(DataError, match=r"expected a rate of .* found None; state it"):
        sources.open_source(f"tfds:rateless_test@{home}", tmp_path)
    with pytest.raises(
        DataError, match="expected values in the range of int16, found up to 1022976"
    ):
        sources.open_source(f"tfds:wide_test@{home}", tmp_path)
    assert not list(tmp_path.rglob("train"))


def test_examples_made_before_a_stop_stay(home, tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_source, "_PER_FOLDER", 2)
    written, write = [], files.write

    def stopped(path, wave, rate):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(path)
        write(path, wave, rate)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            sources.open_source(f"tfds:spoken_test@{home}", tmp_path / "a")
    written.append("the third, of a folder that was not full, again")
    monkeypatch.setattr(files, "write", lambda *wave: (written.append(wave[0]), write(*wave)))
    one = sources.open_source(f"tfds:spoken_test@{home}", tmp_path / "a")
    assert len(written) == 4 + 3
    assert one.name == sources.open_source(f"tfds:spoken_test@{home}", tmp_path / "b").name


def test_other_rows_of_the_same_name(home, tmp_path, monkeypatch):
    first = sources.open_source(f"tfds:spoken_test@{home}", tmp_path / "cache")
    monkeypatch.setattr(
        SpokenTest, "_split_generators", lambda self, _: {"train": self._generate_examples(3)}
    )
    other = sources.open_source(f"tfds:spoken_test@{tmp_path}/other", tmp_path / "cache")
    assert (len(first.rows()), len(other.rows())) == (5, 3) and first.name != other.name


def test_a_copy_of_a_data_set_is_the_same(home, tmp_path):
    first = sources.open_source(f"tfds:spoken_test@{home}", tmp_path / "cache")
    folders = {path.name for path in (tmp_path / "cache/tfds").iterdir()}
    copied = shutil.copytree(home, tmp_path / "copy", copy_function=shutil.copyfile)  # other times
    again = sources.open_source(f"tfds:spoken_test@{copied}", tmp_path / "cache")
    assert again.name == first.name
    assert {path.name for path in (tmp_path / "cache/tfds").iterdir()} == folders
    (features,) = copied.rglob("spoken_test/*/features.json")
    features.write_text(features.read_text().replace('"speaker"', '"speakes"'))  # of the same size
    changed = tfds.builder_from_directory(features.parent)
    assert tfds_source._digest(changed) not in "".join(folders)
