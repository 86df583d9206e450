"""The dialect of Perl's YAML.pm: what it writes is read, what is written it reads, and nothing else is taken."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.foreign.perl.bridge import PerlError, call, tag, untag

from hardtack.errors import InvalidToken
from hardtack.foreign.perl import yaml_pm

AWKWARD = " :#-?\"'\\|>~=&*!%@`[]{},\n\t\r\x00\x85\xa0\u2028abx10.e+\x7f\ufeff"
TRAPS = [
    "a: b",
    "- x",
    'a": b',
    "---",
    "a | # b",
    "~",
    "=",
    "\n",
    "a\nb\n\n",
    " x\n y\n  z\n" * 9,
    "#",
    "'\"#",
    "00420",
]
texts = st.text(st.sampled_from(AWKWARD) | st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    TRAPS
)
trees = st.recursive(
    texts | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
documents = st.dictionaries(texts, trees, max_size=4)
many = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(text: str) -> Any:
    """The document, whatever its class."""
    return yaml_pm.read(text)[0]


# --- against the real module


@pytest.mark.perl("YAML")
@many
@given(documents)
@example({trap: [trap, {trap: trap}] for trap in TRAPS})
def test_perl_reads_what_is_written(data: dict[str, Any]) -> None:
    """YAML.pm, and we, read every text as it was; it looks for comments and mappings inside of quotes too."""
    text = yaml_pm.write(data)

    assert untag(call("yaml_load", text=text)) == data
    assert read(text) == data


@pytest.mark.perl("YAML")
@many
@given(documents)
@example({" a\nb\n" * 9: " a\nb\n\n" * 9, "list": [[], {}, [["x"]], [{"a: b": "c", "d": None}]]})
def test_what_perl_writes_is_read(data: dict[str, Any]) -> None:
    """Whatever YAML.pm writes and can read itself, we read alike."""
    text = call("yaml_dump", data=tag(data))
    try:
        back = untag(call("yaml_load", text=text))
    except PerlError:
        return

    if back == data:
        assert read(text) == data


# --- what is read


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("--- {}\n", {}),
        ("--- []", []),
        ("---\na: 1\nb: yes\nc: 00420\nd: 1e3\n", {"a": "1", "b": "yes", "c": "00420", "d": "1e3"}),
        ("a: ~\nb: '~'\nc: \"~\"\nd:\ne: ''\n", {"a": None, "b": "~", "c": "~", "d": None, "e": ""}),
        ("# a comment\r\n\r\na: b # another\r\n  # and one more\r\nc: 'd #'  # e\r\n", {"a": "b", "c": "d #"}),
        ("a:\n- 1\n- 2\nb: 3\n", {"a": ["1", "2"], "b": "3"}),
        (
            "a:\n  - b: 1\n    c: 2\n  - - x\n    - y\n  -\n    d: {}\n",
            {"a": [{"b": "1", "c": "2"}, ["x", "y"], {"d": {}}]},
        ),
        ("- 'it''s: x'\n- 'k': v\n- \"k\\\"\": v\n", ["it's: x", {"k": "v"}, {'k"': "v"}]),
        ('a: "\\x41\\n\\t\\0\\e\\\\\\u0041"\n', {"a": "A\n\t\0\x1b\\\\u0041"}),
        (
            "a: |\n  b\n   c\n\n  d\ne: |-\n  f\ng: |+\n  h\n\ni: |2-\n    j\n",
            {"a": "b\n c\n\nd\n", "e": "f", "g": "h\n\n", "i": "  j"},
        ),
        ("a: |\nb: c\n", {"a": "\n", "b": "c"}),
        ("a: |\n", {"a": "\n"}),
        ("a: |\n\n  b\n", {"a": "\nb\n"}),
        ("? |-\n  two\n  lines\n: b\n", {"two\nlines": "b"}),
        ("a: &1\n  - x\nb: *1\nc: &2 y\nd: *2\n", {"a": ["x"], "b": ["x"], "c": "y", "d": "y"}),
        ("a: !!perl/scalar:JSON::PP::Boolean 1\nb: !!perl/scalar:JSON::PP::Boolean 0\n", {"a": True, "b": False}),
        ("a: &1 !!perl/scalar:JSON::PP::Boolean 0\nb:\n  - *1\n", {"a": False, "b": [False]}),
        ("--- text\n", "text"),
        ("", None),
    ],
)
def test_documents(text: str, data: Any) -> None:
    """Scalars are text or None; structure is by indentation; people's comments are left out."""
    assert yaml_pm.read(text) == (data, None)


def test_the_class_that_was_asked_for() -> None:
    """A root that is blessed into this very class is a mapping."""
    text = "--- !!perl/hash:Dancer::Session::YAML\nid: 1\n"

    assert yaml_pm.read(text, classes=("Dancer::Session::YAML",)) == ({"id": "1"}, "Dancer::Session::YAML")


# --- what is refused


@pytest.mark.parametrize(
    "text",
    [
        "--- !!perl/hash:Dancer::Session::YAML\nid: 1\n",
        "--- !!perl/hash:Other\nid: 1\n",
        "a: !!perl/hash:Dancer::Session::YAML\n  b: 1\n",
        "a: !!perl/code '{ system q(id) }'\n",
        "a: !!python/object/apply:os.system [id]\n",
        "- !!perl/regexp x\n",
        "a: &1 !!perl/ref\n  =: b\n",
        "a: ! x\n",
        "a: !!perl/scalar:JSON::PP::Boolean 2\n",
        "a: !!perl/scalar:JSON::PP::Boolean\n",
        "a: !!perl/scalar:JSON::PP::Boolean 1 x\n",
        "a: !!perl/scalar:JSON::PP::Boolean '1'\n",
        "a: !!perl/scalar:JSON::PP 1\n",
        "a: !!perl/hash:JSON::PP::Boolean 1\n",
        "--- !!perl/hash:JSON::PP::Boolean\na: b\n",
    ],
)
def test_tags_are_refused(text: str) -> None:
    """Perl would build an object, or compile code."""
    with pytest.raises(InvalidToken, match="object") as caught:
        yaml_pm.read(text, classes=("Another", "Dancer::Session") if "Dancer" in text else ("Dancer::Session::YAML",))

    assert caught.value.reason == "object"


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a\n",
        "a: 1\na: 2\n",
        "a: 1\n  b: 2\n",
        "a: 1\n---\nb: 2\n",
        "- a\nb: 1\n",
        "a: 'b\n",
        'a: "b\\"\n',
        'a: "b" c\n',
        '"a" b\n',
        "'a\n",
        "- 'a\n",
        "a: *1\n",
        "a: &1\n  b: *1\n",
        "a: &\n",
        "a: >\n  b\n",
        "a: |x\n  b\n",
        "a: [b]\n",
        "a: {b: c}\n",
        "a: @b\n",
        "? a\n",
        "? a\nb: c\n",
        "? []\n: b\n",
        "!a: b\n",
    ],
)
def test_what_is_no_such_document_is_refused(text: str) -> None:
    """Not in the dialect: not read, whatever YAML makes of it."""
    with pytest.raises(InvalidToken) as caught:
        read(f"---\n{text}" if text != "a" else text)

    assert caught.value.reason in ("malformed", "object")


def test_depth_is_limited() -> None:
    """64 levels, in both ways to write a list."""
    deep = "".join(f"{'  ' * level}a:\n" for level in range(70))

    for text in (deep, "- " * 70 + "x"):
        with pytest.raises(InvalidToken) as caught:
            read(text)

        assert caught.value.reason == "deep"


def test_aliases_cannot_fill_the_memory() -> None:
    """What an alias repeats is paid for each time."""
    lines = ["a0: &0", *("  - x" for _ in range(10))]
    for level in range(1, 9):
        lines += [f"a{level}: &{level}", *(f"  - *{level - 1}" for _ in range(10))]

    with pytest.raises(InvalidToken) as caught:
        read("\n".join(lines))

    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    "line",
    [
        "a: b{blanks}c",
        "a: b{blanks}#",
        "a: 'b{blanks}c'",
        'a: "b"{blanks}c',
        "a: {{}}{blanks}c",
        "- a{blanks}b",
        "a{blanks}b",
        "a{blanks}: b",
        "- a{blanks}b: c",
        "'a'{blanks}b",
        "? a{blanks}b",
        "a: |{blanks}b",
        "a: &b{blanks}#",
        "{blanks}a: b",
        "a:{tabs}b{tabs}c",
        'a: "{backslashes}',
        "a: '{quotes}b",
        "{lines}",
    ],
)
def test_reading_takes_time_in_proportion_to_the_text(line: str) -> None:
    """A visitor stores what he likes: 80,000 characters must not keep the server busy for many seconds."""
    many = 80_000
    text = line.format(
        blanks=" " * many, tabs="\t" * many, backslashes="\\" * many, quotes="'" * many, lines="- |\n" * (many // 2)
    )
    began = time.process_time()

    with suppress(InvalidToken):
        read(text)

    assert time.process_time() - began < 2


def test_blanks_around_keys_values_and_comments() -> None:
    """Blanks inside stay, blanks around go; a comment needs a blank before it."""
    text = "a  b \t : c  d \t # e\n'f' : 'g' \t# h\ni#j: k#l  \nm: # n\no: {}  \n"

    assert read(text) == {"a  b": "c  d", "f": "g", "i#j": "k#l", "m": None, "o": {}}
