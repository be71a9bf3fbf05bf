"""A trace as a picture to send to a colleague: SVG, or a page with the diagnosis around it.

Both are one file without script, style sheets from elsewhere, fonts or links. Every text is escaped: it may come from a hostile server.
"""

from collections.abc import Sequence
from html import escape

from edgeward.errors import printable
from edgeward.model.diagnosis import Diagnosis
from edgeward.model.finding import Finding
from edgeward.services.doctor.trace import Row, Trace, legend

_WIDTH, _LEFT, _RIGHT = 900, 60, 840
_LINE = 17
_MOST = 118
"""Characters of one line of small text in the picture."""

_STYLE = (
    "text{font:13px ui-monospace,monospace;fill:#1b1f24}.s{fill:#57606a;font-size:12px}.b{fill:#b3261e}.t{font-weight:bold;font-size:15px}"
    "line{stroke:#57606a;stroke-width:1.4}.e{stroke:#1a7f37;stroke-width:2.4}.x{stroke:#b3261e}.r{stroke:#d0d7de}"
)


def _text(x: int, y: int, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(printable(words, 600))}</text>'


def _wrapped(words: str) -> list[str]:
    """Lines of at most `_MOST` characters, broken at spaces: a picture cannot be scrolled."""
    lines: list[str] = []
    for word in printable(words, 1200).split(" "):
        if lines and len(lines[-1]) + len(word) + 1 <= _MOST:
            lines[-1] += f" {word}"
        else:
            lines.append(word[:600])
    return lines


def _row(row: Row, y: int) -> tuple[list[str], int]:
    """One row from height `y` down; its parts and the height below it."""
    bad = " b" if row.bad else ""
    steps = "·".join(str(step) for step in row.steps)
    label = (f"({steps}) " if steps else "") + row.title
    parts = []
    if row.sender:
        kind = "x" if row.bad else "e" if row.encrypted else ""
        start, end = (_LEFT, _RIGHT) if row.sender == "client" else (_RIGHT, _LEFT)
        tip = -9 if end > start else 9
        parts.append(_text(_WIDTH // 2, y, label, bad.strip(), "middle"))
        y += 8
        parts.append(f'<line x1="{start}" y1="{y}" x2="{end}" y2="{y}" class="{kind}"/>')
        parts += [f'<line x1="{end + tip}" y1="{y + up}" x2="{end}" y2="{y}" class="{kind}"/>' for up in (-5, 5)]
        y += _LINE
    else:
        for line in _wrapped(("✗ " if row.bad else "✓ ") + label):
            parts.append(_text(_LEFT + 14, y, line, bad.strip()))
            y += _LINE
    for words in (row.says, row.means):
        for line in _wrapped(words) if words else ():
            parts.append(_text(_LEFT + 24, y, line, "s"))
            y += _LINE - 2
    return parts, y + 8


def svg(traces: Sequence[Trace]) -> str:
    """The traces below each other as one SVG document."""
    parts: list[str] = []
    y = 30
    for trace in traces:
        parts.append(_text(_LEFT, y, trace.title, "t"))
        y += 28
        parts += [_text(_LEFT, y, "client", "t", "middle"), _text(_RIGHT, y, "server", "t", "middle")]
        top = y + 8
        y += 34
        for row in trace.rows:
            made, y = _row(row, y)
            parts += made
        parts += [f'<line x1="{x}" y1="{top}" x2="{x}" y2="{y}" class="r"/>' for x in (_LEFT, _RIGHT)]
        y += 40
    for line in legend():
        parts.append(_text(_LEFT, y, line, "s"))
        y += _LINE
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 10}" width="{_WIDTH}" height="{y + 10}" role="img">'
    title = escape(printable("; ".join(trace.title for trace in traces) or "no handshake", 300))
    body = "".join(parts)
    return f'{head}<title>{title}</title><style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{body}</svg>\n'


_PAGE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#1b1f24}pre,code{font:13px ui-monospace,"
    "monospace}pre{background:#f6f8fa;padding:.8em;overflow:auto}.error{color:#b3261e}.warning{color:#9a6700}.note{color:#57606a}"
    "section{border-top:1px solid #d0d7de;margin-top:1em}svg{max-width:100%;height:auto}"
)


def _finding(finding: Finding) -> str:
    why = "".join(f"<p>{escape(line)}</p>" for line in finding.why)
    said = "".join(f"{escape(program)}: {escape(words)}\n" for program, words in finding.said)
    typed = "".join(
        f"{escape(one.system)}: {escape(printable(one.command, 2000))}\n  # {escape(printable(one.words, 1000))}\n"
        for one in finding.remedies
    )
    said = f"<h4>what programs print</h4><pre>{said}</pre>" if said else ""
    typed = f"<h4>what to type</h4><pre>{typed}</pre>" if typed else ""
    level = finding.severity.value
    head = f'<h3 class="{level}">{level}: {escape(finding.id)}</h3><p><b>{escape(finding.what)}</b></p>'
    return f"<section>{head}{why}{said}{typed}</section>"


def page(diagnosis: Diagnosis, traces: Sequence[Trace]) -> str:
    """The diagnosis and its traces as one HTML page that loads nothing and runs nothing."""
    subject = escape(printable(diagnosis.subject, 300))
    seen = "".join(
        f"<h3>{escape(one.title)}</h3><pre>{escape(chr(10).join(one.lines))}</pre>" for one in diagnosis.sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>edgeward doctor {subject}</title><style>{_PAGE}</style></head><body><h1>{subject}</h1>"
        f"{''.join(map(_finding, diagnosis.findings)) or '<p>Nothing is wrong.</p>'}"
        f"<h2>The handshake</h2>{svg(traces)}<h2>What was seen</h2>{seen}</body></html>\n"
    )
