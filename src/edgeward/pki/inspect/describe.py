"""From items to reports: each thing by its kind, containers with what is in them, and how it all belongs together."""

from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from types import ModuleType
from typing import cast

from edgeward.errors import EdgewardError
from edgeward.pki import parse
from edgeward.pki.formats.item import Item, Kind, leaves
from edgeward.pki.inspect import certificate
from edgeward.pki.inspect.names import shown
from edgeward.pki.inspect.report import Json, Report, Warning

MAX_REPORTS = 1_000
"""Things of one input that are described one by one."""


def _module(name: str) -> ModuleType:
    """A reporter that is loaded when it is needed: a lone certificate needs none of them."""
    return import_module(f"edgeward.pki.inspect.{name}")


def one(item: Item, now: datetime) -> Report:
    """The report on one item and its parts. What does not parse becomes a report with a `problem`."""
    if item.parts or (item.problem is not None and item.kind is not Kind.ENCRYPTED_KEY) or item.kind in _CONTAINERS:
        return _container(item, now)
    try:
        if item.kind is Kind.CERTIFICATE:
            return certificate.report(item, now)
        report = cast("Report", _module("others").REPORTERS[item.kind](item, now))
    except EdgewardError as error:
        return _container(item._replace(problem=error), now)
    return report._replace(problem=item.problem) if item.problem is not None else report


_CONTAINERS = {
    Kind.PKCS7, Kind.PKCS12, Kind.JKS, Kind.JCEKS, Kind.KUBERNETES_SECRET, Kind.KUBECONFIG, Kind.BROKEN,
}  # fmt: skip


def _container(item: Item, now: datetime) -> Report:
    parts, tree, warnings = _together(item.parts, now)
    facts: dict[str, Json] = {"name": shown(item.label)} if item.kind in _CONTAINERS and item.label else {}
    rows = []
    if item.kind is Kind.PKCS12:
        rows.append(("integrity", item.protection or "none"))
        encryption = sorted({part.protection for part in item.parts if part.protection})
        rows += [("encryption", words) for words in encryption]
        facts |= {"integrity": item.protection, "encryption": list[Json](encryption)}
    return Report(
        kind=item.kind.value, title=item.kind.words, origin=item.origin, encoding=item.encoding,
        label=shown(item.label),
        alias=shown(item.alias), rows=tuple(rows), facts=facts, notes=item.notes, parts=parts, tree=tree,
        warnings=warnings, problem=item.problem,
    )  # fmt: skip


def together(items: Sequence[Item], now: datetime) -> Report:
    """The report on everything that one input holds. A single thing is reported as itself.

    Several are parts of one report of kind `bundle`, which says how they belong together. `now` is aware UTC.
    """
    if len(items) == 1:
        return one(items[0], now)
    parts, tree, warnings = _together(items, now)
    return Report(kind="bundle", title=f"{len(items)} things", parts=parts, tree=tree, warnings=warnings)


def _together(items: Sequence[Item], now: datetime) -> tuple[tuple[Report, ...], tuple[str, ...], tuple[Warning, ...]]:
    parts = tuple(one(item, now) for item in items[:MAX_REPORTS])
    found = list(leaves(items))
    readable = []
    for item in found[:MAX_REPORTS]:
        if item.kind is Kind.CERTIFICATE and item.problem is None:
            try:
                readable.append(parse.certificate(item.data))
            except EdgewardError:
                continue
    keys = [report for part in parts for report in part.walk() if report.kind == Kind.PRIVATE_KEY.value]
    digests = [str(cast("dict[str, Json]", key.facts["public_key"])["spki_sha256"]) for key in keys if key.facts]
    if not readable or len(readable) + len(digests) < 2:
        return parts, (), ()
    chain = _module("chain")
    heap = chain.family(readable)
    return parts, chain.drawn(heap) if len(readable) > 1 else (), tuple(chain.warnings(heap, digests))
