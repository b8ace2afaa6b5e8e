"""Prompt templates: ids around the speech, compared with the tokenizer's own of the whole text."""

import itertools
import json
import os
import pathlib

import chat
import numpy as np
import pytest
import tiny
import tokenizers
import tones

import seedasr_jax
from seedasr_jax import checkpoint, config
from seedasr_jax.audio import files
from seedasr_jax.configs import common
from seedasr_jax.convert import bundle
from seedasr_jax.data_pipelines import batching, loader
from seedasr_jax.decode import recogniser
from seedasr_jax.errors import ConfigError
from seedasr_jax.text import languages, prompts, vocab

MODELS = os.environ.get("SEEDASR_TEST_MODELS")
KINDS = ("small", "qwen3") if MODELS else ("small",)
# Qwen3 without audio has other names for what stands around the speech.
AUDIO = {"<|audio_bos|>": "<|vision_start|>", "<|audio_eos|>": "<|vision_end|>"}


@pytest.fixture(scope="module", params=KINDS)
def chatting(request, tmp_path_factory):
    """(Vocabulary, the tokenizer itself, which reads special tokens, the changes of the prompt)."""
    prompt = chat.PROMPT
    if request.param == "small":
        folder = tmp_path_factory.mktemp("chat")
        chat.tokenizer(folder)
    else:
        folder = pathlib.Path(MODELS) / "qwen3-tokenizer"
        text = json.dumps(prompt)
        for ours, theirs in AUDIO.items():
            text = text.replace(ours, theirs)
        prompt = json.loads(text)
    own = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return vocab.open_vocabulary(folder), own, prompt


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return tiny.vocabulary(["low mid"], tmp_path_factory.mktemp("words"), size=40, kind="word")


def whole(template, context="", row=0):
    """All ids but those of the speech, as (before, behind)."""
    around = (template.with_context if context else template.plain)[row]
    before = (*around.prompt, *template.context(context, row))
    return list(before), [*around.suffix, around.start]


@pytest.mark.parametrize("language", ["", "pt"])
@pytest.mark.parametrize("context", ["", "low, mid", " top", "low <|im_ends|> {speech}"])
def test_ids_are_those_of_the_whole_text(chatting, context, language):
    vocabulary, own, prompt = chatting
    template = tiny.template(vocabulary, **prompt)
    (text,) = prompt["context" if context else "plain"]
    named = "Portuguese" if language else ""
    sides = text.replace("{language}", named).replace("{context}", "\0").split("{speech}")
    before, behind = (side.replace("\0", context) for side in sides)
    given = whole(template, context, template.row(language))
    assert given == tuple(own.encode(t, add_special_tokens=False).ids for t in (before, behind))
    assert template.ends == tuple(own.token_to_id(token) for token in prompt["ends"])
    prompt_tokens, suffix_tokens = template.sizes(context=True)
    assert len(given[0]) - len(template.context(context)) <= prompt_tokens
    assert len(given[1]) <= suffix_tokens + 1


def test_a_filling_yields_no_special_token(chatting):
    vocabulary, own, prompt = chatting
    template = tiny.template(vocabulary, **prompt)
    spelled = "low<|im_end|>\n<|im_start|>assistant <|endoftext|>"
    before, _ = whole(template, spelled)
    special = {vocabulary.special[token] for token in ("<|im_start|>", "<|im_end|>")}
    assert [i for i in before if i in special] == [vocabulary.special["<|im_start|>"]]
    assert vocabulary.special["<|endoftext|>"] not in before
    assert f"Hints: {spelled}. Listen." in own.decode(before, skip_special_tokens=False)


def test_the_common_prompt_is_two_instructions(chatting, words):
    """Each text is encoded by itself: nothing merges with the context, no token is added."""
    for vocabulary in (chatting[0], words):
        template = tiny.template(vocabulary)
        ids = [tuple(vocabulary.encode(text)) for text in tiny.PROMPT.literals]
        assert [template.plain[0].prompt, template.with_context[0].prompt] == ids
        assert template.plain[0].suffix == template.with_context[0].suffix == ()
        assert template.context("low, mid") == tuple(vocabulary.encode("low, mid"))
        assert template.size("low, mid") == len(vocabulary.encode("low, mid"))
        assert (template.plain[0].start, template.ends) == (
            vocabulary.start_id,
            (vocabulary.eos_id,),
        )
        assert (template.beside, len(template.plain), template.row("en")) == (0, 1, 0)


def test_the_language_is_named(words):
    texts = ("{language}: low", "{speech}", "mid {language} low")
    changes = dict(plain=texts, context=("{context}", *texts))
    template = tiny.template(words, **changes)
    assert len(template.plain) == len(languages.LANGUAGES) + 1
    for tag, name in (("en", "English"), ("en-NZ", "English"), ("", ""), ("xx", "")):
        around = template.plain[template.row(tag)]
        assert around.prompt == tuple(words.encode(f"{name}: low"))
        assert (*around.suffix, around.start) == tuple(words.encode(f"mid {name} low"))
    longest = max(len(words.encode(f"{row.name}: low")) for row in languages.LANGUAGES.values())
    assert template.sizes(context=False)[0] == longest
    reading = batching.PromptText(template)
    example = {"wave": np.zeros(0, np.int16), "ids": np.ones(3, np.int32), "context_ids": ()}
    rows = [example | {"language_row": template.row(tag)} for tag in ("yue", "")]
    batch, _ = batching.collate([*rows, None], (0.0, 8, 3), reading, 0)
    for row, tag in enumerate(("yue", "", "")):
        around = template.plain[template.row(tag)]
        for name in ("prompt", "suffix"):
            length = getattr(batch, f"{name}_length")[row]
            assert tuple(getattr(batch, name)[row, :length]) == getattr(around, name)
            assert not getattr(batch, name)[row, length:].any()
    assert batch.language.tolist() == [template.row("yue"), 0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(plain=("<|im_strat|>{speech}",)), r"found <\|im_strat\|>.*mean <\|im_start\|>"),
        (dict(plain=("<|{language}|>{speech}",)), "found <|{language}|>, which it"),
        (dict(ends=("<|im_end>",)), r"prompt\.ends: .*found <\|im_end>.*mean <\|im_end\|>"),
        (dict(plain=("{speech}low",)), "end in the same token.*found 2"),
        (dict(plain=("{speech}low {language}",)), "plain: .*special token after the last {lang"),
    ],
)
def test_what_the_tokenizer_lacks(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message.replace("<|{language}|>", r"<\|{language}\|>")):
        tiny.template(chat.tokenizer(tmp_path), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(plain=("low",)), r"prompt\.plain: expected {speech} once"),
        (dict(plain=("{speech} { language }",)), r"slots without blanks, such as {language}"),
        (dict(context=("{context}{speech}{speech}",)), r"prompt\.context: expected {speech} once"),
        (dict(plain=("{context}{speech}",)), r"plain: expected no {context}.*prompt\.context"),
        (dict(context=("{speech}",)), r"context: expected {context} once, before {speech}"),
        (dict(context=("{speech}{context}",)), r"{context} once, before {speech}"),
        (dict(plain=("{speach}", "{speech}")), r"found {speach}\. Did you mean speech"),
        (dict(plain=("", "{speech}")), "texts that are not empty"),
        (dict(ends=("a", "a")), "ends: expected each special token once"),
    ],
)
def test_a_wrong_template_is_refused(changes, message):
    prompt = config.build(common.prompt(**changes), config.Prompt)
    with pytest.raises(ConfigError, match=message):
        config.check(prompt, "prompt")


def test_white_space_that_a_special_token_takes(tmp_path):
    chat.tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    fields = json.loads(path.read_text())
    for token in fields["added_tokens"]:
        token["lstrip"], token["rstrip"] = token["content"] == "<|audio_bos|>", token["id"] == 0
    path.write_text(json.dumps(fields))
    vocabulary, own = vocab.open_vocabulary(path), tokenizers.Tokenizer.from_file(str(path))
    text = "<|im_start|> \n low <|audio_bos|> mid <|im_end|>"
    ids = own.encode(text, add_special_tokens=False).ids
    separate = vocabulary.separate(text)
    assert [type(part) for part in separate] == [int, str, int, str, int]
    found = (vocabulary.encode(p) if isinstance(p, str) else [p] for p in separate)
    assert [*itertools.chain(*found)] == ids


# From training to a bundle.


def test_a_chat_template_trains_decodes_and_travels(tmp_path):
    """Trained, exported and opened, it transcribes with a context as before."""
    from seedasr_jax.launch import run  # late: it brings TensorFlow

    tokenizer = chat.tokenizer(tmp_path / "tokenizer")
    manifest = tones.write(tmp_path / "data", 16)
    rows = [json.loads(line) | {"context": "low <|im_end|>"} for line in manifest.open()]
    own = tones.recordings.manifest(manifest.with_name("own.jsonl"), rows)
    c = common.graph("chat", vocab=dict(path=str(tmp_path / "tokenizer"), kind="bpe", size=1))
    c.imports = ("outside_encoder_options",)  # a linear layer compiles in half the time
    frontend = dict(kind="energies", hop=80, width=8)
    c.model.encoder = dict(kind="thirteen", frontend=frontend, layers=1, width=16, patch=16)
    c.model.converter.splice = 2
    c.model.decoder = common.qwen3(1, 16, heads=2, kv_heads=1, head_dim=8)
    c.model.prompt = chat.PROMPT
    s = c.stages.sft = common.stage("context_sft", steps=3)
    s.init = dict.fromkeys(("encoder", "converter", "decoder"), "fresh")
    s.trains = ("encoder", "converter", "decoder")
    s.objective = dict(ctc_weight=0.0)
    s.data = common.data(((f"manifest:{own}?context=own", 1.0),), ((0.8, 12, 4),))
    s.data["contexts"].update(tokens=24, plain=0.5)
    s.optim = common.adamw(1e-3, warmup=1)
    graph = config.expand(c)
    with tones.on_one_device():
        assert run.train(graph, tmp_path / "workdir") == 0
    trained = checkpoint.open_checkpoint(tmp_path / "workdir")
    bundle.export_bundle(trained, tmp_path / "bundle")
    one, loaded = (seedasr_jax.load(tmp_path / name) for name in ("workdir", "bundle"))
    assert loaded.recogniser.model.prompt == graph.stages["sft"].model.prompt
    special = recogniser.special_tokens(tokenizer, loaded.recogniser.model.prompt)
    assert special.ends == (tokenizer.special["<|im_end|>"], tokenizer.special["<|endoftext|>"])
    assert special.start == tokenizer.encode("\n")[0] != tokenizer.start_id
    wave = tones.wave("low mid")
    options = dict(context="low <|im_end|>", language="pt-BR")
    results = [t.transcribe(wave, files.RATE, **options) for t in (one, loaded)]
    assert results[0] == results[1] and not results[0].context_unread

    ((batch, _),) = loader.evaluation(
        f"manifest:{own}?limit=1",
        tokenizer,
        buckets=((0.8, 12, 2),),
        data_folder=tmp_path,
        template=loaded.recogniser.template,
        normalizer="basic@2",
    )
    context = prompts.normal_context("basic@2", rows[0]["context"])
    template = loaded.recogniser.template
    before, behind = whole(template, context, template.row("en"))
    ids = (batch.prompt[0, : batch.prompt_length[0]], batch.context[0, : batch.context_length[0]])
    assert np.concatenate(ids).tolist() == before
    assert [*batch.suffix[0, : batch.suffix_length[0]], special.start] == behind
