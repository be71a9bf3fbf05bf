"""The tree of failures: every class says one sentence, has an exit status, and an answer at every front-end."""

import re
import shlex
import string
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward import errors
from edgeward.cli.reading import In, IsDirectory
from edgeward.errors import EdgewardError, LegacyEdge, PolicyRefused, printable
from edgeward.hub import authorise
from edgeward.pki.formats.item import WrongKind
from edgeward.protocols.kubeedge import answers
from edgeward.web import problems

HOSTILE = (
    'x\r\nSet-Cookie: a=b\x1b[2J\x1b]0;t\x07\u2028\u2029\u202e\u200b\ud800\x00"<img onerror=alert(1)>{facts}%s'
    + "y" * 5000
)


def tree(kind: type[EdgewardError] = EdgewardError) -> Iterator[type[EdgewardError]]:
    for child in kind.__subclasses__():
        yield child
        yield from tree(child)


CLASSES = sorted({kind for kind in tree() if kind.__module__ == "edgeward.errors"}, key=lambda kind: kind.__name__)


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def example(kind: type[EdgewardError], value: object = "something") -> EdgewardError:
    """An error of this class whose every fact is `value`."""
    if issubclass(kind, LegacyEdge):
        return kind(str(value))
    if issubclass(kind, PolicyRefused):
        return PolicyRefused((str(value), str(value)))
    return kind(**dict.fromkeys(fields(kind.sentence) | fields(kind.remedy), value))


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_has_one_sentence_and_one_place_in_the_tree(kind: type[EdgewardError]) -> None:
    error = example(kind)
    said = str(error)
    assert said
    assert "{" not in said + error.hint
    assert not said.endswith(".")
    assert not said[0].isupper() or said.startswith("TLS")
    assert kind.__doc__
    branches = (errors.UsageError, errors.InputError, errors.Refusal, errors.Unavailable, errors.InternalError)
    assert sum(issubclass(kind, branch) for branch in branches) == 1
    branch = next(branch for branch in branches if issubclass(kind, branch))
    assert (
        kind.exit_status
        == branch.exit_status
        == {"UsageError": 2, "InputError": 65, "Refusal": 1, "Unavailable": 69}.get(branch.__name__, 70)
    )
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error.code)


def test_every_code_is_one_class_s_own() -> None:
    assert len({example(kind).code for kind in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("kind", CLASSES)
def test_t51_hostile_facts_stay_in_their_line(kind: type[EdgewardError]) -> None:
    error = example(kind, HOSTILE)
    for said in (str(error), error.hint):
        assert said.isprintable()
        assert len(said) < 5000
        assert said.isascii() or "…" in said


@pytest.mark.parametrize("kind", CLASSES)
def test_every_front_end_has_an_answer(kind: type[EdgewardError]) -> None:
    error = example(kind)
    for status in (problems.status(error), answers.status_of(kind), authorise.status(error)):
        assert 400 <= status <= 503
        assert (status == 500) == isinstance(error, errors.InternalError)
        assert (status == 503) == isinstance(error, errors.Unavailable)


def test_every_refusal_of_a_kind_is_told_like_its_kind() -> None:
    assert problems.status(errors.NoEvidence()) == problems.status(errors.Unauthenticated()) == 401
    assert problems.status(example(errors.InsecureDirectory)) == 400
    assert problems.status(example(errors.TooLarge)) == 413
    assert problems.status(example(errors.NotFound)) == 404


@given(st.text(), st.integers(1, 300))
def test_t51_printable_text_moves_no_cursor_and_forges_no_line(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= 10 * limit + 1
    if text.isprintable() and len(text) <= limit:
        assert shown == text


@pytest.mark.parametrize(
    "character",
    [*map(chr, range(32)), "\x7f", "\x80", "\x9b", "\xad", "\u2028", "\u2029", "\u202e", "\u2066", "\ufeff", "\ud800"],
)
def test_t51_every_control_is_shown_as_an_escape(character: str) -> None:
    shown = printable(f"a{character}b")
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert character not in shown


@pytest.mark.parametrize("name", ["$(id).crt", "a;id", "two words", "`id`", "it's"])
def test_t51_what_a_hint_says_to_type_is_one_word_of_a_shell_whatever_a_file_is_called(name: str) -> None:
    hint = WrongKind(name=name, wanted="certificate", found="nothing").hint
    assert shlex.split(hint.partition(": ")[2]) == ["edgeward", "inspect", name]
    hint = In(name, errors.TooLarge(what=name, limit=1)).hint
    assert shlex.split(hint.partition("begins: ")[2]) == ["head", "-c", "200", name]
    hint = IsDirectory(name).hint
    assert shlex.split(hint.partition(": ")[2]) == [f"{name}/*"]


def test_a_refused_policy_says_every_violation() -> None:
    violations = tuple(f"rule number {n} was broken in some way" for n in range(20))
    assert all(violation in str(PolicyRefused(violations)) for violation in violations)
    assert PolicyRefused(violations).violations == violations
