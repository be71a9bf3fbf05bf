"""`edgeward diff`: what a renewal changed."""

import json
import sys
from datetime import UTC, datetime

import click

from edgeward.cli import reading
from edgeward.errors import EdgewardError, UsageError, printable
from edgeward.pki.formats.item import Item, leaves
from edgeward.pki.inspect import compare, describe
from edgeward.pki.inspect.report import Report


@click.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Write JSON for programs.")
@click.option("--password", metavar="@FILE", help="Open what is encrypted with it.")
def command(before: str, after: str, as_json: bool, password: str | None) -> None:
    """Say what differs between A and B: fields, extensions, octets.

    Of a file with several things the first of each kind is compared. Exit status: 0 the same octets, 1 something
    differs, 65 one of them cannot be read.

    \b
    Example:
      edgeward diff old.crt renewed.crt
    """
    secret = reading.secret(password)
    now = datetime.now(UTC)
    old, new = _firsts(before, secret), _firsts(after, secret)
    kinds = [kind for kind in old if kind in new]
    if not kinds:
        holds = [", ".join(found) or "nothing" for found in (old, new)]
        raise UsageError(problem=f"nothing to compare: {before} holds {holds[0]}, {after} holds {holds[1]}")
    same = True
    written = []
    for kind in kinds:
        found = list(compare.differences(_report(before, old[kind], now), _report(after, new[kind], now)))
        identical = old[kind].data == new[kind].data
        same = same and identical
        if as_json:
            written.append({"kind": kind, "same": identical, "differences": [each.as_json() for each in found]})
            continue
        sys.stdout.write(f"{old[kind].kind.words}: {'the same octets' if identical else f'{len(found)} differences'}\n")
        for difference in found:
            sys.stdout.write(f"  {printable(difference.name)}\n")
            for line in difference.before:
                if line not in difference.after:
                    sys.stdout.write(f"    - {printable(line, 600)}\n")
            for line in difference.after:
                if line not in difference.before:
                    sys.stdout.write(f"    + {printable(line, 600)}\n")
        if not identical and not found:
            sys.stdout.write("  the octets differ, and nothing that they say\n")
    if as_json:
        sys.stdout.write(json.dumps({"same": same, "compared": written}, indent=2, ensure_ascii=False) + "\n")
    if not same:
        sys.exit(1)


def _firsts(name: str, password: str | None) -> dict[str, Item]:
    """The first item of each kind in a file."""
    found: dict[str, Item] = {}
    for item in leaves(reading.items(name, password)):
        if item.problem is not None:
            raise reading.In(name, item.problem) from item.problem
        found.setdefault(item.kind.value, item)
    return found


def _report(name: str, item: Item, now: datetime) -> Report:
    report = describe.one(item, now)
    if isinstance(report.problem, EdgewardError):
        raise reading.In(name, report.problem) from report.problem
    return report
