"""`edgeward doctor HOST:PORT`: survey the server, judge every part, put the cause first.

The order of judgement is the order of causes: what cannot be reached has no certificate, a token that is none needs no server, a chain
that nobody signed has no names worth comparing. Errors come before warnings before notes; within each the order stays.

A token is sent, if at all, in a handshake that proves the very certificate whose chain ends at the CA that the token pins, and with a
request that no server grants: one that cannot be read, or for a name that nobody may have. So it tells whether it is good and is not spent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from edgeward.errors import BadToken
from edgeward.model.diagnosis import Diagnosis
from edgeward.model.finding import Finding
from edgeward.model.handshake import Contact, Handshake
from edgeward.model.token import JoinToken, Secret
from edgeward.pki.severity import worst_first
from edgeward.services.doctor import answers, called, chain, client, reach, show
from edgeward.services.doctor.case import Case, Mine, Trust, read
from edgeward.services.doctor.survey import Ask, Look, request, survey, upgrade

PROJECT = "e632aba927ea4ac2b575ec1603d56f10"
"""The project that an edge names when nothing else is configured."""


class Requests(Protocol):
    """Makes a certificate request (DER) that every authority of ours refuses, for whom the token does not matter."""

    def __call__(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything that is asked. `before`: what was found about our own files; `token`: as given, judged here. `connect`: open a session."""

    ask: Ask
    trust: Trust
    mine: Mine | None = None
    node: str = ""
    token: Secret | None = None
    connect: bool = False
    before: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """The diagnosis, and the facts that it rests on, for drawing."""

    diagnosis: Diagnosis
    contact: Contact


def examine(question: Question, look: Look, now: Callable[[], datetime], refused_request: Requests) -> Examined:
    """Look at a server and say what is wrong."""
    contact = survey(question.ask, look, now)
    return judge(question, contact, look, refused_request)


def judge(question: Question, contact: Contact, look: Look, refused_request: Requests) -> Examined:
    """The judgement of a contact; `look` is used for what may be asked only once the server is known to be the right one."""
    case = Case(
        contact=contact,
        trust=_trust(question, contact),
        now=contact.now,
        mine=question.mine,
        node=question.node,
    )
    case.systems = _systems(case)
    reached = reach.judge(case)
    case.findings += question.before
    if reached:
        token = answers.token(case, question.token.reveal(), case.now) if question.token is not None else None
        case.common["wanted_san"] = called.wanted_of(case)
        reach.versions(case)
        chain.judge(case)
        called.judge(case)
        client.judge(case)
        answers.kind(case, token_given=question.token is not None, connect=question.connect)
        contact = replace(contact, asked_for_token=tuple(_questions(question, case, token, look, refused_request)))
        reach.unfinished(case)
        reach.aside(case)
        if case.trust.source == "first-use":
            case.add("no-trust-given", {"store": "the CA that the server itself gives out"})
    elif question.token is not None and not case.findings:
        answers.token(case, question.token.reveal(), case.now)
    findings = tuple(worst_first(_causes(case)))
    diagnosis = Diagnosis(
        subject=contact.address,
        findings=findings,
        sections=show.sections(case, findings),
        facts=show.facts(case),
    )
    return Examined(diagnosis=diagnosis, contact=contact)


def _causes(case: Case) -> list[Finding]:
    """The findings without those that another one explains."""
    explained = {
        "hub-is-not-enrolment": {"client-certificate-missing"},
        "tls-intercepted": {
            "name-mismatch",
            "address-mismatch",
            "no-ip-sans",
            "no-names",
            "eku-server",
            "client-refused",
        },
        "client-revoked": {"client-refused"},
        "node-blocked": {"client-revoked"},
        "weak-key": {"old-versions-too"},
        "clock-behind": {"client-not-yet-valid"},
        "clock-ahead": {"client-expired"},
        "wrong-leaf-first": {
            "server-key-mismatch",
            "name-mismatch",
            "address-mismatch",
            "no-names",
            "no-ip-sans",
            "chain-order",
        },
    }
    gone = {id_ for one in case.findings for id_ in explained.get(one.id, ())}
    return [one for one in case.findings if one.id not in gone]


def _trust(question: Question, contact: Contact) -> Trust:
    """Whom to judge by: what was given; else the CA that the token pins; else what the server itself gives out, which is how edges
    begin; else this machine's CAs."""
    if question.trust.source == "given":
        return question.trust
    own = answers.ca_of(contact)
    if own is None:
        return question.trust
    source = "first-use"
    if question.token is not None:
        try:
            source = "pinned" if answers.pins(JoinToken.parse(question.token.reveal()), own) else source
        except BadToken:
            source = "first-use"
    return Trust(anchors=(own,), source=source, crls=question.trust.crls)


def _systems(case: Case) -> tuple[str, ...]:
    """Which system the server is of, by its certificate: whose commands come first."""
    shown = case.shown
    leaf = read(shown.certificates[0]) if shown is not None else None
    organizations = leaf.subject.rfc4514_string() if leaf is not None else ""
    if "O=Edgeward" in organizations:
        return ("edgeward",)
    return ("kubeedge", "edgeward") if "O=KubeEdge" in organizations else ()


def _questions(
    question: Question, case: Case, token: JoinToken | None, look: Look, refused_request: Requests
) -> Sequence[Handshake]:
    """Ask about the token, the certificate or a session, where that is safe."""
    shown = case.shown
    if shown is None or case.has("tls-intercepted", "hub-is-not-enrolment"):
        return ()
    if token is not None and answers.is_enrolment(case.contact):
        ca = answers.ca_of(case.contact)
        trusted = ca is not None and chain.trusted_path(shown.certificates[0], shown.certificates[1:], ca, case.now)
        return _about_token(question, case, token, look, refused_request) if trusted else ()
    if question.mine is None or client.turned_away(shown):
        return ()
    if answers.is_enrolment(case.contact):
        return _about_certificate(question, case, look, refused_request)
    return _about_session(question, case, look)


def _about_token(
    question: Question, case: Case, token: JoinToken, look: Look, refused_request: Requests
) -> Sequence[Handshake]:
    asked = []
    header = ("Authorization", f"Bearer {token.bearer.reveal()}")
    for body in (b"-", refused_request()):
        one = _enrol(question, case, look, body, header)
        asked.append(one)
        if answers.answered(case, one, about="token", secret=token.bearer.reveal()) and not _unnamed(question, case):
            break
        if b"not a readable certificate request" not in (one.answer.body if one.answer is not None else b""):
            break
    return asked


def _unnamed(question: Question, case: Case) -> bool:
    """Whether a refusal is only that nobody said which node it is; then it is no finding."""
    if question.node or question.mine is not None:
        return False
    before = len(case.findings)
    case.findings = [one for one in case.findings if one.id not in ("token-not-for-node", "node-refused")]
    return len(case.findings) < before


def _about_certificate(question: Question, case: Case, look: Look, refused_request: Requests) -> Sequence[Handshake]:
    asked = []
    for body in (b"-", refused_request()):
        one = _enrol(question, case, look, body)
        asked.append(one)
        if answers.answered(case, one, about="certificate"):
            break
        if b"not a readable certificate request" not in (one.answer.body if one.answer is not None else b""):
            break
    return asked


def _enrol(question: Question, case: Case, look: Look, body: bytes, *more: tuple[str, str]) -> Handshake:
    shown = case.shown
    assert shown is not None  # noqa: S101 - asked by the caller
    node = question.node or (case.mine.node if case.mine is not None else "") or "edgeward-doctor"
    asked = request("/edge.crt", question.ask.name, question.ask.port, ("NodeName", node), *more, body=body)
    offer = replace(shown.offer, pair=not more)
    return look.handshake(shown.address, offer, asked, shown.certificates[0])


def _about_session(question: Question, case: Case, look: Look) -> Sequence[Handshake]:
    shown = case.shown
    assert shown is not None  # noqa: S101 - asked by the caller
    node = question.node or (case.mine.node if case.mine is not None else "")
    if question.connect and node:
        wish = upgrade(question.ask, "13", ("Node_id", node), ("Project_id", PROJECT))
    elif answers.is_edgeward_hub(case.contact):
        wish = upgrade(
            question.ask, "13"
        )  # without a name it is refused, and says first what is wrong with the certificate
    else:
        return ()
    one = look.handshake(shown.address, shown.offer, wish, shown.certificates[0])
    answers.answered(case, one, about="session")
    return (one,)
