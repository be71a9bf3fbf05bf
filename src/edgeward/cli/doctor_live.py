"""`edgeward doctor HOST:PORT`: reads the files that were named, looks at the server, draws the trace."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from edgeward import app_doctor
from edgeward.cli import address, reading
from edgeward.cli.doctor import Asked
from edgeward.errors import UsageError, printable
from edgeward.model.diagnosis import Diagnosis, Section
from edgeward.model.token import Secret
from edgeward.pki.formats.item import Kind, of_kind
from edgeward.services.doctor import live, mine, picture, trace
from edgeward.services.doctor.case import Trust
from edgeward.services.doctor.mine import Ours
from edgeward.services.doctor.survey import Ask


def examine(asked: Asked) -> Diagnosis:
    """The diagnosis of the server that was asked about."""
    server = asked.server
    assert server is not None  # noqa: S101 - what makes the patient a server
    ours = _ours(asked, reading.secret(asked.password))
    name = address.wire(asked.name) if asked.name else server.host
    question = live.Question(
        ask=Ask(host=server.host, port=server.port, name=name, scheme=server.scheme, pair=ours.key is not None),
        trust=_trust(asked),
        mine=ours.mine,
        node=asked.node or "",
        token=Secret((reading.secret(asked.token, option="--token") or "").strip())
        if asked.token is not None
        else None,
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


def _ours(asked: Asked, password: str | None) -> Ours:
    if asked.cert is None and asked.key is None:
        return Ours()
    if asked.cert is None:
        raise UsageError(problem="--key needs --cert")
    key = asked.key or asked.cert
    dialled = printable(asked.things[0])
    return mine.judge(asked.cert, reading.items(asked.cert, password), key, reading.items(key, password), dialled)


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
