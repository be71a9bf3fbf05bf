"""`edgeward doctor HOST:PORT`: reads the files that were named, looks at the server, draws the trace."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from edgeward import app_doctor
from edgeward.cli import reading
from edgeward.cli.doctor import Asked
from edgeward.cli.options import secret
from edgeward.errors import UsageError, printable
from edgeward.model.diagnosis import Diagnosis, Section
from edgeward.pki.formats.item import Item, Kind, of_kind
from edgeward.services.doctor import live, mine, picture, trace
from edgeward.services.doctor.case import Trust
from edgeward.services.doctor.mine import Ours
from edgeward.services.doctor.survey import Ask


def examine(asked: Asked) -> Diagnosis:
    """The diagnosis of the server that was asked about."""
    password = reading.secret(asked.password)
    ours = _ours(asked, password)
    name = _name(asked.name or asked.host)
    question = live.Question(
        ask=Ask(host=_name(asked.host), port=asked.port, name=name, scheme=asked.scheme, pair=ours.key is not None),
        trust=_trust(asked),
        mine=ours.mine,
        node=asked.node or "",
        token=secret(asked.token, "a token") if asked.token is not None else None,
        connect=asked.connect,
        before=ours.findings,
    )
    chain = ours.mine.certificates if ours.mine is not None and ours.key is not None else ()
    examined = app_doctor.examine(question, app_doctor.network(asked.seconds, chain, ours.key))
    return _traced(asked, examined)


def _traced(asked: Asked, examined: live.Examined) -> Diagnosis:
    """The diagnosis with its trace, where one was asked for, in the text, in the JSON and in the files."""
    diagnosis = examined.diagnosis
    if not (asked.trace or asked.svg or asked.html):
        return diagnosis
    found = trace.traces(examined.contact, diagnosis.findings)
    if asked.svg:
        _write(asked.svg, picture.svg(found))
    if asked.html:
        _write(asked.html, picture.page(diagnosis, found))
    if not asked.trace:
        return diagnosis
    lines = [line for one in found for line in trace.drawn(one)] or ["no handshake began"]
    section = Section(title="trace", lines=(*lines, *trace.legend()))
    told = [{"title": printable(one.title), "rows": [row.as_json() for row in one.rows]} for one in found]
    return replace(diagnosis, sections=(*diagnosis.sections, section), facts={**diagnosis.facts, "trace": told})


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(problem=f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


def _name(text: str) -> str:
    """A host as it goes over the wire: letters beyond ASCII become Punycode (RFC 3490). Raises `UsageError`."""
    if text.isascii():
        return text
    try:
        return text.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise UsageError(problem=f"{printable(text)} is not a host name: {error}") from error


def _ours(asked: Asked, password: str | None) -> Ours:
    if asked.cert is None and asked.key is None:
        return Ours()
    if asked.cert is None:
        raise UsageError(problem="--key needs --cert")
    key = asked.key or asked.cert
    address = printable(asked.things[0])
    return mine.judge(asked.cert, _items(asked.cert, password), key, _items(key, password), address)


def _items(path: str, password: str | None) -> list[Item]:
    return reading.items(path, password)


def _trust(asked: Asked) -> Trust:
    crls = tuple(item.data for path in asked.crl for item in of_kind(reading.items(path), Kind.CRL, path))
    if not asked.ca:
        return Trust(anchors=app_doctor.system_anchors(), source="system", crls=crls)
    return Trust(anchors=tuple(_anchors(asked.ca)), source="given", crls=crls)


def _anchors(paths: tuple[str, ...]) -> Iterator[bytes]:
    for path in paths:
        inside = reading.files(path) if Path(path).is_dir() else [path]
        for one in inside:
            for item in of_kind(reading.items(one), Kind.CERTIFICATE, one):
                yield item.data
