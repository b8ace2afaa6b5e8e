"""Contexts and lists of names, as people write them in every language."""

import unicodedata

import pytest

from seedasr_jax.errors import ConfigError
from seedasr_jax.launch import contexts
from seedasr_jax.text import prompts


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("ann, bob ,,ann lee", ["ann", "bob", "ann lee"]),
        ("张三，李四、王五", ["张三", "李四", "王五"]),
        ("محمد، علي؛ سعيد", ["محمد", "علي", "سعيد"]),
        ("ｱﾝ､ﾎﾞﾌﾞ", ["ｱﾝ", "ﾎﾞﾌﾞ"]),
        ("ann;bob；eve\tdan\r\njoe\u2028", ["ann", "bob", "eve", "dan", "joe"]),
        (
            "ジョン・スミス、約翰·史密斯",
            ["ジョン・スミス", "約翰·史密斯"],
        ),  # of one name
        ("O'Neil, צה״ל, Smith-Jones & Co. (UK)", ["O'Neil", "צה״ל", "Smith-Jones & Co. (UK)"]),
        ("ann|bob｜eve | dan", ["ann", "bob", "eve", "dan"]),
        (" ， ", []),
    ],
)
def test_a_list_is_split_as_people_write_it(text, names):
    assert prompts.split(text) == names
    assert prompts.context(hotwords=text) == prompts.context(hotwords=names) == ", ".join(names)


def test_commas_and_semicolons_of_every_script_part_names():
    for code in range(0x110000):
        char = chr(code)
        words = unicodedata.name(char, "").split()
        if unicodedata.category(char) == "Po" and {"COMMA", "SEMICOLON"} & set(words):
            assert prompts.split(f"a{char}b") == ["a", "b"], ascii(char)


def test_a_list_has_each_name_once_in_order_whole():
    listed = ["Bob", "King, Jr.", "ann", "bob!", "…", "", "张三，李四"]
    assert prompts.context(" of tea ", listed) == "of tea, Bob, King Jr., ann, 张三 李四"
    assert prompts.context("ann, ann", ("ann",)) == "ann, ann, ann"  # a text is no list
    assert prompts.context(None, None) == prompts.context() == ""


@pytest.mark.parametrize("listed", [{"ann"}, {"ann": 1}, b"ann", ["ann", 3], ["ann", None], 7])
def test_what_is_no_list_is_refused(listed):
    with pytest.raises(ConfigError, match=r'expected names in order, \["ann", "bob"\]'):
        prompts.context(hotwords=listed)
    with pytest.raises(ConfigError, match="context: expected a text"):
        prompts.context(listed)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"\xef\xbb\xbfann\r\n\r\n  bob lee \r\n", ("ann", "bob lee")),
        (b"# team\nKing, Jr.\n#tag", ("King, Jr.", "#tag")),
        ("张三，李四\n".encode(), ("张三", "李四")),  # the only line: a list
        (b"ann\rbob", ("ann", "bob")),
        (b" \n# none\n", None),
        (b"ann\nbob\t2.5\n", None),
        (b"ANN :1.5 #0.6\nBOB\n", None),
        (b"at 10:30\nBoeing 747", ("at 10:30", "Boeing 747")),
        ("ann\nbob".encode("utf-16"), None),
    ],
)
def test_files(tmp_path, content, names):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    if names is not None:
        assert contexts.read_hotwords(f"@{path}") == names
        return
    with pytest.raises(ConfigError, match="UTF-8 with a word or name per line, found"):
        contexts.read_hotwords(f"@{path}")


def test_what_is_typed_is_utf8_whatever_the_locale():
    typed = "张三，李四".encode().decode("ascii", "surrogateescape")
    assert contexts.read_hotwords(typed) == ("张三", "李四")
    assert contexts.read_context(typed) == "张三，李四"
    with pytest.raises(ConfigError, match="hotwords: expected text in UTF-8, found"):
        prompts.context(hotwords=contexts.read_hotwords("\udcff"))


def test_a_context_keeps_its_commas():
    assert prompts.normal_context("basic@2", "Ann,  BOB Joe!,") == "ann, bob joe"
    assert prompts.normal_context("zh@2", "张三，李四、…。") == "张三, 李四"
    assert prompts.normal_context("basic@2", "A talk about Tea.") == "a talk about tea"
    assert (
        prompts.normal_context("english@2", "It cost 1,000, ann said") == "it cost 1000, ann said"
    )
    assert prompts.normal_context("basic@2", "um 3,5 Prozent,5, 6") == "um 3 5 prozent, 5, 6"
