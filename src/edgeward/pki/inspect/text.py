"""Reports as text for people: aligned fields, extensions in words, warnings last where the eye stops."""

from collections.abc import Iterator

from edgeward.errors import printable
from edgeward.pki.inspect.report import Report

WIDTH = 14
"""Characters of the column with the fields' names."""


def lines(report: Report, *, width: int = 118) -> Iterator[str]:
    """The report as lines without their ends, none longer than `width` where words allow."""
    yield from _report(report, "", width)


def _report(report: Report, indent: str, width: int) -> Iterator[str]:
    yield indent + _title(report)
    inner = indent + "  "
    for name, value in report.rows:
        yield from _row(inner, name, value, width)
    if report.extensions:
        yield f"{inner}extensions"
        for extension in report.extensions:
            yield f"{inner}  {extension.name}{' (critical)' if extension.critical else ''}"
            for word in extension.words:
                yield from _wrapped(word, inner + "    ", inner + "      ", width)
    for note in report.notes:
        yield from _wrapped(f"· {printable(note, 400)}", inner, inner + "  ", width)
    for part in report.parts:
        yield ""
        yield from _report(part, inner, width)
    if report.tree:
        yield ""
        yield f"{inner}chain"
        for line in report.tree:
            yield f"{inner}  {line}"
    if report.warnings or report.problem is not None:
        yield from _findings(report, inner, width)


def _title(report: Report) -> str:
    about = [part for part in (report.encoding, report.alias and f"named {report.alias}", report.origin) if part]
    label = f" {report.label}" if report.label and report.kind in {"kubernetes-secret", "kubeconfig"} else ""
    return printable(f"{report.title}{label}" + (f" ({', '.join(about)})" if about else ""), 400)


def _row(indent: str, name: str, value: str, width: int) -> Iterator[str]:
    first = f"{indent}{name:<{WIDTH}}"
    yield from _wrapped(value, first, " " * len(first), width)


def _wrapped(text: str, first: str, rest: str, width: int) -> Iterator[str]:
    if len(first) + len(text) <= width:
        yield first + text
        return
    if _is_hex(text):
        yield from _hex_lines(text, first, rest, width)
        return
    line = first
    for word in text.split(" "):
        if len(line) + len(word) > width and line.strip() and line != rest:
            yield line.rstrip()
            line = rest
        line += word + " "
    yield line.rstrip()


def _is_hex(text: str) -> bool:
    return ":" in text and " " not in text and all(c in "0123456789ABCDEF:…" for c in text)


def _hex_lines(text: str, first: str, rest: str, width: int) -> Iterator[str]:
    room = max((width - len(rest)) // 3 * 3, 3)
    for start in range(0, len(text), room):
        yield (first if start == 0 else rest) + text[start : start + room]


def _findings(report: Report, indent: str, width: int) -> Iterator[str]:
    if report.problem is not None:
        mark = "·" if report.problem.code == "password-needed" else "✗"
        yield from _wrapped(f"{mark} {printable(str(report.problem), 400)}", indent, indent + "  ", width)
        if report.problem.hint:
            yield from _wrapped(f"→ {report.problem.hint}", indent + "  ", indent + "    ", width)
    for warning in report.warnings:
        yield from _wrapped(f"{warning.severity.mark} {warning.text}", indent, indent + "  ", width)
        if warning.remedy:
            yield from _wrapped(f"→ {warning.remedy}", indent + "  ", indent + "    ", width)
