"""Two reports side by side: what differs, field by field and extension by extension."""

from collections.abc import Iterator
from dataclasses import dataclass

from edgeward.pki.inspect.report import Json, Report

_ALWAYS = {"seconds_left"}
"""Facts that depend on the moment of looking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that differs: its name, and what it is on each side (empty where it is missing)."""

    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    def as_json(self) -> dict[str, Json]:
        """The difference for programs."""
        return {"name": self.name, "before": list[Json](self.before), "after": list[Json](self.after)}


def differences(before: Report, after: Report) -> Iterator[Difference]:
    """What differs between two reports, fields first, then extensions, in the order of the first."""
    if before.kind != after.kind:
        yield Difference(name="kind", before=(before.title,), after=(after.title,))
    names = [*before.facts, *(name for name in after.facts if name not in before.facts)]
    for name in names:
        old, new = before.facts.get(name), after.facts.get(name)
        if old != new and name not in _ALWAYS and not name.endswith("_attributes"):
            yield Difference(name=name, before=_words(old), after=_words(new))
    old_extensions = {extension.oid: extension for extension in before.extensions}
    new_extensions = {extension.oid: extension for extension in after.extensions}
    for oid in [*old_extensions, *(oid for oid in new_extensions if oid not in old_extensions)]:
        was, is_ = old_extensions.get(oid), new_extensions.get(oid)
        name = (was or is_).name if (was or is_) else oid  # type: ignore[union-attr]
        if was is None or is_ is None or was.critical != is_.critical or was.value != is_.value:
            yield Difference(
                name=f"extension {name}",
                before=_extension(was.critical, was.words) if was else (),
                after=_extension(is_.critical, is_.words) if is_ else (),
            )


def _extension(critical: bool, words: tuple[str, ...]) -> tuple[str, ...]:
    return ("critical", *words) if critical else words


def _words(value: Json) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, dict):
        return tuple(f"{name}: {inner}" for name, inner in value.items())
    if isinstance(value, list):
        return tuple(str(inner) for inner in value)
    return (str(value),)
