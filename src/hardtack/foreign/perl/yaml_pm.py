"""The dialect of Perl's YAML.pm, for plain data: every scalar is text, as it is in Perl, None, or a boolean of its JSON.

YAML.pm writes scalars that YAML itself reads as something else (`00420`, `1e3`, `yes`, a DEL, a line separator), so no
general YAML parser gives back what was written. Read are the documents that YAML.pm writes and the plain block YAML that
people write. Tags, which YAML.pm turns into objects and code, are refused but for the class of those booleans.
"""

from __future__ import annotations

import re
from typing import Any, Final

from hardtack.errors import InvalidToken
from hardtack.foreign.base import malformed
from hardtack.foreign.perl.reader import JSON_BOOLEAN

MAX_DEPTH: Final = 64
MAX_NODES: Final = 100_000
"""With what aliases repeat: a few aliases of aliases would fill the memory."""


def read(text: str, *, classes: tuple[str, ...] = ()) -> tuple[Any, str | None]:
    """The one document, and the class of its root where that is blessed into one of `classes`.

    Raises `InvalidToken`, with the reason `object` for every other tag.
    """
    return _Reader(text).document(classes)


def write(data: dict[str, Any], *, class_name: str | None = None) -> str:
    """A document that YAML.pm reads as the same dicts, lists, booleans and None; every other value as its text."""
    header = "---" if class_name is None else f"--- !!perl/hash:{class_name}"
    return header + _node(data, 0)


# --- reading

_BOOLEAN = f"!!perl/scalar:{JSON_BOOLEAN} "
_BOOLEANS = {f"{_BOOLEAN}0": False, f"{_BOOLEAN}1": True}
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\']|\'\')*)\'')
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|([never\\fart0\"]))")
_ESCAPED = {
    "n": "\n",
    "e": "\x1b",
    "v": "\v",
    "r": "\r",
    "\\": "\\",
    "f": "\f",
    "a": "\a",
    "t": "\t",
    "0": "\0",
    '"': '"',
}
# No pattern may begin with "any number of blanks" where it is searched for: on a long run of blanks, which a visitor can
# have stored, it would be tried from each of them, and a page would take minutes.
_PLAIN_KEY = re.compile(r"[^'\"!&*|>%@`{\[#? \t].*?(?=:(?:[ \t]|$))")
_COLON = re.compile(r"[ \t]*:(?:[ \t]+|$)")
_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#.*$")
_BLOCK = re.compile(r"\|([1-9]?)([+-]?)([1-9]?)[ \t]*")
_ANCHOR = re.compile(r"[&*]([A-Za-z0-9_./-]+)(?:[ \t]+|$)")
_ITEM = re.compile(r"-(?:[ \t]+|$)")


class _Reader:
    """Goes through the lines once; `self._lines[self._at]` is the next one."""

    def __init__(self, text: str) -> None:
        text = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
        self._lines = text.split("\n")
        self._at = 0
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0

    def document(self, classes: tuple[str, ...]) -> tuple[Any, str | None]:
        self._skip()
        rest, blessed = "", None
        if self._more() and re.match(r"---(?:[ \t]|$)", self._lines[self._at]):
            rest = self._lines[self._at][3:].strip(" \t")
            self._at += 1
            for name in classes:
                if rest == f"!!perl/hash:{name}":
                    rest, blessed = "", name
        value = self._value(rest, -1, 0)
        self._skip()
        if self._more():
            malformed("more than one document, or a line of the wrong indentation")
        return value, blessed

    # --- lines

    def _more(self) -> bool:
        return self._at < len(self._lines)

    def _skip(self) -> None:
        while self._more() and re.match(r"[ \t]*(?:#|$)", self._lines[self._at]):
            self._at += 1

    def _indent(self) -> int:
        """The indentation of the next line that is no comment; -1 at the end."""
        self._skip()
        if not self._more():
            return -1
        line = self._lines[self._at]
        return len(line) - len(line.lstrip(" "))

    def _content(self) -> str:
        return self._lines[self._at].lstrip(" ")

    # --- nodes

    def _value(self, rest: str, indent: int, depth: int) -> Any:
        """The value whose text begins with `rest`, behind a key, a dash or the header, which are at `indent`."""
        before = self._nodes
        self._count(1, depth)
        name = None
        if rest[:1] in ("&", "*") and (found := _ANCHOR.match(rest)):
            name = found[1]
            if rest[0] == "*":
                return self._alias(name)
            rest = rest[found.end() :]
        value = self._inline(rest, indent) if _COMMENT.sub("", rest) else self._nested(indent, depth)
        if name is not None:
            self._anchors[name] = value, self._nodes - before
        return value

    def _count(self, nodes: int, depth: int) -> None:
        self._nodes += nodes
        if depth > MAX_DEPTH:
            raise InvalidToken("deep")
        if self._nodes > MAX_NODES:
            raise InvalidToken("too_large", "too many values")

    def _alias(self, name: str) -> Any:
        if name not in self._anchors:  # also one that is still being read: a structure that contains itself
            malformed("an alias without an anchor before it")
        value, nodes = self._anchors[name]
        self._count(nodes, 0)
        return value

    def _nested(self, indent: int, depth: int) -> Any:
        """What stands on the lines below: a list or a mapping that is indented more, or nothing."""
        inner = self._indent()
        if inner > indent:
            return self._list(inner, depth) if _ITEM.match(self._content()) else self._mapping(inner, depth)
        if inner == indent >= 0 and _ITEM.match(self._content()):
            return self._list(inner, depth)  # a list need not be indented more than its key
        return None

    def _mapping(self, indent: int, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while self._indent() == indent and not _ITEM.match(self._content()):
            content = self._content()
            self._at += 1
            key, rest = self._block_key(content, indent) if content.startswith("? ") else _key(content)
            if key in result:
                malformed("a key stands twice")
            result[key] = self._value(rest, indent, depth + 1)
        return result

    def _block_key(self, content: str, indent: int) -> tuple[str, str]:
        """A key of several lines: `? |-`, its lines, and `: value`, which YAML.pm does not indent."""
        key = self._value(content[2:].strip(" \t"), indent, 0)
        colon = None if self._indent() < 0 else _COLON.match(self._content())
        if type(key) is not str or colon is None:
            malformed("a key of several lines has no value")
        rest = self._content()[colon.end() :]
        self._at += 1
        return key, rest

    def _list(self, indent: int, depth: int) -> list[Any]:
        result = []
        while self._indent() == indent and (dash := _ITEM.match(self._content())):
            rest = self._content()[dash.end() :]
            if _ITEM.match(rest) or rest.startswith("? ") or _is_entry(rest):
                # `- key: value`: the mapping begins on the line of the dash, and goes on below, as much indented.
                inner = indent + dash.end()
                self._lines[self._at] = " " * inner + rest
                self._count(1, depth + 1)
                result.append(self._nested(indent, depth + 1))
            else:
                self._at += 1
                result.append(self._value(rest, indent, depth + 1))
        return result

    def _inline(self, rest: str, indent: int) -> Any:
        value: Any
        first = rest[0]
        if first == "|":
            return self._block(rest, indent)
        if rest in _BOOLEANS:
            return _BOOLEANS[rest]
        if first == "!":
            raise InvalidToken("object", "a tag that would build an object")
        if first in "'\"":
            value, rest = _quoted(rest)
        elif rest[:2] in ("[]", "{}"):
            value, rest = [] if first == "[" else {}, rest[2:]
        else:
            return _plain(rest)
        if _COMMENT.sub("", rest).strip(" \t"):
            malformed("text behind a value")
        return value

    def _block(self, rest: str, indent: int) -> str:
        """Lines that are taken as they are, without their indentation."""
        header = _BLOCK.fullmatch(rest)
        if header is None:
            malformed("an indicator that YAML.pm does not write")
        digits, chomp = header[1] or header[3], header[2]
        inner = max(indent, 0) + int(digits) if digits else self._first_indent(indent)
        lines = []
        while self._more():
            line = self._lines[self._at]
            if line[:inner].strip(" "):
                break
            lines.append(line[inner:])
            self._at += 1
        text = "".join(f"{line}\n" for line in lines)
        if chomp == "+":
            return text
        text = text.rstrip("\n")
        return text if chomp == "-" else f"{text}\n"

    def _first_indent(self, indent: int) -> int:
        for at in range(self._at, len(self._lines)):
            line = self._lines[at]
            if line.strip(" "):
                return max(len(line) - len(line.lstrip(" ")), indent + 1)
        return indent + 1


def _key(content: str) -> tuple[str, str]:
    """The key that a line begins with, and the text of its value."""
    if content[:1] in ("'", '"'):
        key, rest = _quoted(content)
        colon = _COLON.match(rest)
    else:
        plain = _PLAIN_KEY.match(content)
        if plain is None:
            malformed("a line that is neither a key nor an item")
        key, rest = plain[0].rstrip(" \t"), content[plain.end() :]
        colon = _COLON.match(rest)
    if colon is None:
        malformed("a key without a colon")
    return key, rest[colon.end() :]


def _is_entry(rest: str) -> bool:
    if rest[:1] in ("'", '"'):
        quoted = _QUOTED.match(rest)
        return quoted is not None and _COLON.match(rest, quoted.end()) is not None
    return _PLAIN_KEY.match(rest) is not None


def _quoted(text: str) -> tuple[str, str]:
    """The text in quotes, and what stands behind them."""
    found = _QUOTED.match(text)
    if found is None:
        malformed("quotes that are not closed")
    if found[1] is None:
        return found[2].replace("''", "'"), text[found.end() :]
    return _ESCAPE.sub(lambda each: chr(int(each[1], 16)) if each[1] else _ESCAPED[each[2]], found[1]), text[
        found.end() :
    ]


def _plain(rest: str) -> str | None:
    if rest[0] in "&*>@%`{[":
        malformed("an indicator that YAML.pm does not write")
    text = _COMMENT.sub("", rest).rstrip(" \t")
    return None if text == "~" else text


# --- writing

_WORD = re.compile(r"[A-Za-z0-9_]+|-?[0-9][0-9.e+-]*")
_IN_SINGLE_QUOTES = re.compile(r"[^'#\x00-\x1f\x7f]*")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\"\\#]")


def _node(value: Any, indent: int) -> str:
    """What stands behind a key, a dash or the header, with the line ends."""
    if type(value) is dict and value:
        pad = " " * indent
        return "\n" + "".join(f"{pad}{_scalar(key)}:{_node(item, indent + 2)}" for key, item in value.items())
    if type(value) is list and value:
        pad = " " * indent
        return "\n" + "".join(f"{pad}-{_node(item, indent + 2)}" for item in value)
    return f" {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    if value is None:
        return "~"
    if type(value) is bool:
        return f"{_BOOLEAN}{int(value)}"
    if type(value) in (dict, list):
        return "{}" if type(value) is dict else "[]"
    text = str(value)
    if _WORD.fullmatch(text):
        return text
    if _IN_SINGLE_QUOTES.fullmatch(text):
        return f"'{text}'"
    # YAML.pm looks for quotes, comments and block indicators inside of quotes too, and has no escape but \xNN for them.
    return '"' + _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", text) + '"'
