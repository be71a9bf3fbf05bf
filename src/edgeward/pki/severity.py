"""How bad a thing is: one scale for the warnings of `inspect`, the rules of `lint` and the findings of the doctor."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol, TypeVar


class Severity(StrEnum):
    """`ERROR` fails now, `WARNING` will fail or fails for some, `NOTE` is worth knowing. The worst comes first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def mark(self) -> str:
        """The sign before it where a line is short."""
        return _SHOWN[self][0]

    @property
    def colour(self) -> str:
        """The colour that it has in a terminal."""
        return _SHOWN[self][1]

    def reaches(self, threshold: "Severity") -> bool:
        """Whether it is as bad as `threshold`."""
        return _PLACES[self] <= _PLACES[threshold]


_SHOWN = {Severity.ERROR: ("✗", "red"), Severity.WARNING: ("!", "yellow"), Severity.NOTE: ("·", "cyan")}
_PLACES = {severity: place for place, severity in enumerate(Severity)}


class Graded(Protocol):
    """Whatever has a severity."""

    @property
    def severity(self) -> Severity: ...


G = TypeVar("G", bound=Graded)


def worst_first(found: Iterable[G]) -> list[G]:
    """`found` by severity, the worst first; those of one severity keep their order."""
    return sorted(found, key=lambda one: _PLACES[one.severity])
