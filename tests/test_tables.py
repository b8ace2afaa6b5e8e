"""Tables of text."""

from seedasr_jax import tables


def test_columns_are_as_wide_as_their_widest_cell():
    assert tables.columns(("a", "bcd"), [("long", 1), ("", "é")]) == "a     bcd\nlong  1\n      é"
    assert tables.columns(("a", "b"), []) == "a  b"


def test_markdown_has_a_head_and_escapes():
    assert tables.markdown(("a", "b"), [(1, "x|y")]) == (
        "| a | b |\n| --- | --- |\n| 1 | x\\|y |\n"
    )
