"""The part of YAML that `kubectl get -o yaml` and kubeconfig files are written in, read into dicts, lists and text.

Block mappings and sequences, plain and quoted scalars, literal and folded blocks, comments, several documents. No
anchors, no tags, no flow collections beyond `{}` and `[]`: whatever else there is stays text. Every scalar is text,
which is what certificates are.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from edgeward.errors import TooLarge, Unreadable

Value: TypeAlias = "str | list[Value] | dict[str, Value]"

MAX_LINES = 200_000
MAX_DEPTH = 40

_KEY = re.compile(
    r"(\"(?:[^\"\\]|\\.)*\"|'(?:[^']|'')*'"
    r"|[^\s\"'#&*!|>{}\[\]%@`,-][^#:]*(?::[^\s#:][^#:]*)*|-[^\s#:][^#:]*)\s*:(?:\s+|$)"
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "/": "/", "0": "\0"}


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    indent: int
    text: str


def documents(text: str) -> list[Value]:
    """The documents in `text`. Raises `Unreadable` with the line for what is not of this kind, `TooLarge` for too
    much of it.
    """
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise TooLarge(what=f"the YAML text ({MAX_LINES} lines)", limit=len(text))
    found: list[Value] = []
    start = 0
    for i in range(len(lines) + 1):
        if i == len(lines) or lines[i].startswith(("---", "...")):
            reader = _Reader(lines[start:i], start)
            if reader.peek() is not None:
                found.append(reader.value(0, 0))
            start = i + 1
    return found


class _Reader:
    def __init__(self, lines: list[str], offset: int) -> None:
        self.lines = lines
        self.offset = offset
        self.at = 0
        self.held: _Line | None = None

    def fail(self, why: str) -> Unreadable:
        return Unreadable(what="YAML", why=f"{why} at line {self.offset + self.at + 1}")

    def peek(self) -> _Line | None:
        """The next line with something on it."""
        if self.held is not None:
            return self.held
        while self.at < len(self.lines):
            line = self.lines[self.at].rstrip()
            text = line.lstrip(" ")
            if text and not text.startswith(("#", "%")):
                return _Line(self.at, len(line) - len(text), text)
            self.at += 1
        return None

    def next(self) -> None:
        self.held = None
        self.at += 1

    def value(self, indent: int, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise self.fail("too many levels")
        line = self.peek()
        if line is None or line.indent < indent:
            return ""
        if line.text == "-" or line.text.startswith("- "):
            return self.sequence(line.indent, depth)
        if _KEY.match(line.text):
            return self.mapping(line.indent, depth)
        self.next()
        return self.scalar(line.text, line.indent)

    def sequence(self, indent: int, depth: int) -> "list[Value]":
        values: list[Value] = []
        while (line := self.peek()) and line.indent == indent and (line.text == "-" or line.text.startswith("- ")):
            rest = line.text[1:].lstrip(" ")
            if not rest:
                self.next()
                values.append(self.value(indent + 1, depth + 1))
                continue
            self.held = _Line(line.number, indent + len(line.text) - len(rest), rest)
            values.append(self.value(indent + 1, depth + 1))
        return values

    def mapping(self, indent: int, depth: int) -> "dict[str, Value]":
        values: dict[str, Value] = {}
        while (line := self.peek()) and line.indent == indent and (match := _KEY.match(line.text)):
            if line.text.startswith("- "):
                break
            self.next()
            key, rest = _unquoted(match[1].strip()), line.text[match.end() :].strip()
            if rest and not rest.startswith("#"):
                values[key] = self.scalar(rest, indent)
                continue
            following = self.peek()
            inside = following is not None and (
                following.indent > indent or (following.indent == indent and following.text.startswith("- "))
            )
            values[key] = self.value(indent, depth + 1) if inside else ""
        line = self.peek()
        if line is not None and line.indent > indent:
            raise self.fail("a line is indented more than its neighbours")
        return values

    def scalar(self, text: str, indent: int) -> Value:
        if text[0] in "|>" and len(text.split("#", maxsplit=1)[0].strip()) <= 3:
            return self.block(text, indent)
        if text[0] in "\"'":
            return _unquoted(text.rsplit(" #", 1)[0].rstrip() if " #" in text and text[-1] != text[0] else text)
        if text == "{}":
            return {}
        if text == "[]":
            return []
        plain = [text.split(" #", maxsplit=1)[0].rstrip()]
        # A plain scalar goes on over lines that are indented further and are no mapping.
        while (line := self.peek()) and line.indent > indent and self.held is None and not _KEY.match(line.text):
            plain.append(line.text)
            self.next()
        return " ".join(plain)

    def block(self, mark: str, indent: int) -> str:
        lines: list[str] = []
        inner = -1
        while self.at < len(self.lines):
            line = self.lines[self.at].rstrip("\r")
            stripped = line.lstrip(" ")
            if stripped:
                depth = len(line) - len(stripped)
                if inner < 0:
                    inner = depth
                if depth <= indent or depth < inner:
                    break
            lines.append(line[inner:] if inner > 0 else "")
            self.at += 1
        while lines and not lines[-1]:
            lines.pop()
        return ("\n" if mark[0] == "|" else " ").join(lines) + ("" if "-" in mark[:3] else "\n")


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), text[1:-1])
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text
