"""Real weights and a real tokenizer, from SEEDASR_TEST_MODELS, live against transformers.

Dims: B batch, S samples, T frames.
"""

import copy
import json
import os
import pathlib
import unicodedata

from flax import nnx
import numpy as np
import pytest
import torch
import transformers

from seedasr_jax import checkpoint, config
from seedasr_jax.audio import files
from seedasr_jax.evaluate import opening
from seedasr_jax.launch import imports
from seedasr_jax.models import frontends
from seedasr_jax.text import vocab

pytestmark = pytest.mark.parity
MODELS = pathlib.Path(os.environ["SEEDASR_TEST_MODELS"])
SPEECH = pathlib.Path(os.environ["SEEDASR_TEST_SPEECH"])
WHISPER, TOKENIZER = MODELS / "whisper-base-encoder", MODELS / "qwen3-tokenizer"
FRAME = 320  # samples of a frame of Whisper
PADDED = 480_000  # samples of 30 s
CLOSE = 2e-3  # of the largest absolute value


@pytest.fixture(scope="module")
def waves():
    """20 recordings, cut to whole frames: the reference refuses any other length."""
    rows = (SPEECH / "realspeech/manifest.jsonl").read_text().splitlines()
    paths = [SPEECH / "realspeech" / json.loads(row)["audio"] for row in rows]
    chosen = paths[:: len(paths) // 20][:20]
    read = [files.read(str(path))[:PADDED] for path in chosen]
    return [wave[: len(wave) // FRAME * FRAME] for wave in read]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """(encoder of a given `least`, theirs, their feature extractor)."""
    out = tmp_path_factory.mktemp("whisper") / "bundle"
    imports.bundle(str(WHISPER), out)
    opened = checkpoint.open_checkpoint(out)
    assert opened.stage.model.encoder.frontend.least == PADDED
    graphdef, state, *_ = opening.open_model(opened, None, ("encoder",))

    def make(least):
        encoder = nnx.merge(graphdef, state).encoder
        options = config.WhisperMel(kind="whisper_mel", mels=80, least=least)
        encoder.frontend = frontends.make(options)
        return encoder

    theirs = transformers.WhisperModel.from_pretrained(WHISPER, dtype=torch.float32).encoder
    return make, theirs.eval(), transformers.WhisperFeatureExtractor.from_pretrained(WHISPER)


def encoded(encoder, wave, room):
    """Frames [T D] of one wave in a buffer with `room` more samples."""
    buffer = np.zeros((1, len(wave) + room), np.float32)
    buffer[0, : len(wave)] = wave
    frames, length = encoder(*encoder.frontend(buffer, np.array([len(wave)], np.int32)))
    return np.asarray(frames)[0, : int(length[0])]


def check(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=CLOSE * np.abs(wanted).max())


def test_whisper_padded_to_30_s_is_that_of_transformers(waves, whisper):
    """With nothing masked, as they run it."""
    make, theirs, extractor = whisper
    encoder = make(PADDED)
    for wave in waves[::7]:
        features = extractor(wave, sampling_rate=16_000, return_tensors="pt")["input_features"]
        with torch.no_grad():
            wanted = theirs(features).last_hidden_state[0].numpy()
        check(encoded(encoder, wave, 0), wanted)


def test_whisper_in_short_buckets_is_their_encoder_cut_to_the_clip(waves, whisper):
    """Padding is masked; their table of positions is cut to the clip's length."""
    make, theirs, extractor = whisper
    encoder = make(400)
    for wave in waves:
        frames = len(wave) // FRAME
        cut = copy.deepcopy(theirs)
        cut.config.max_source_positions = cut.max_source_positions = frames
        cut.embed_positions = torch.nn.Embedding(frames, cut.config.d_model)
        cut.embed_positions.weight.data = theirs.embed_positions.weight.data[:frames]
        options = dict(sampling_rate=16_000, return_tensors="pt", padding="do_not_pad")
        with torch.no_grad():
            wanted = cut(extractor(wave, **options)["input_features"]).last_hidden_state[0].numpy()
        room = -len(wave) % 80_000 + 80_000  # few shapes; always some padding
        found = encoded(encoder, wave, room)
        assert len(found) == frames
        check(found, wanted)


SCRIPTS = {
    "Latn": (0x41, 0x5A, 0x61, 0x7A, 0xC0, 0x17F),
    "Arab": (0x621, 0x64A, 0x64B, 0x652),
    "Cyrl": (0x410, 0x44F),
    "Grek": (0x391, 0x3A1, 0x3B1, 0x3C9),
    "Hebr": (0x5D0, 0x5EA),
    "Deva": (0x905, 0x94D),
    "Thai": (0xE01, 0xE3A, 0xE40, 0xE4E),
    "Laoo": (0xE81, 0xE82, 0xE94, 0xE97),
    "Khmr": (0x1780, 0x17D2),
    "Mymr": (0x1000, 0x103A),
    "Hans": (0x4E00, 0x9FA5),
    "Jpan": (0x3041, 0x3096, 0x30A1, 0x30FA, 0x4E00, 0x9FA5),
    "Kore": (0xAC00, 0xD7A3),
}
ODD = (
    "\u200d",
    "\t",
    "\x07",
    "\x00",
    "\U0001f469\u200d\U0001f680",
    "e\u0301",
    "\ufeff",
    "  ",
    "\n",
)
MARKUP = ("<|im_end|>", "<|endoftext|>", "<think>", "</tool_call>", "<|audio_start|>")


def lines(count):
    """Random lines over all scripts, with punctuation, digits and odd characters."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        ranges = SCRIPTS[rng.choice(list(SCRIPTS))]
        words = []
        for _ in range(rng.integers(1, 8)):
            pair = 2 * rng.integers(len(ranges) // 2)
            letters = rng.integers(ranges[pair], ranges[pair + 1] + 1, rng.integers(1, 9))
            words.append("".join(map(chr, letters)))
            if rng.random() < 0.3:
                words.append(str(rng.choice(["1,234.5", "don't", "...", "?!", "3", "a_b", *ODD])))
        text = str(rng.choice([" ", "", "-"])).join(words)
        yield unicodedata.normalize("NFD", text) if rng.random() < 0.2 else text


def test_the_real_tokenizer_is_that_of_transformers():
    """Ids of 5,000 lines; decoding gives each back, composed as the tokenizer composes it."""
    own = vocab.open_vocabulary(TOKENIZER)
    theirs = transformers.AutoTokenizer.from_pretrained(TOKENIZER)
    assert own.size == len(theirs) == 151_669
    given = list(lines(5_000))
    for text, ids in zip(given, theirs(given, add_special_tokens=False)["input_ids"]):
        assert own.encode(text) == ids, repr(text)
        assert own.decode(ids) == unicodedata.normalize("NFC", text), repr(text)


def test_what_looks_like_a_special_token_stays_text():
    own = vocab.open_vocabulary(TOKENIZER)
    for markup in MARKUP:
        text = f"so {markup} said"
        ids = own.encode(text)
        assert not {*ids} & {*own.special.values()}
        assert own.decode(ids) == text
