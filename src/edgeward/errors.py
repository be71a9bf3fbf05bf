"""The tree of failures: what went wrong, whose side it is on, and what to type next.

An error class owns one sentence (lower case, no full stop) and, where there is one, a hint. Both are format strings over the
facts given to the constructor, so that a log, a terminal and a JSON answer say the same thing. Facts that come from a peer may be
hostile: they are shortened and made printable before they reach the sentence. The branches say whose fault it was:

    EdgewardError
    ├── UsageError      the command line or the configuration asks for something that makes no sense   exit 2
    ├── InputError      bytes are not what they were said to be                                        exit 65
    ├── Refusal         understood, and refused by a rule                                              exit 1
    ├── Unavailable     something we need is not there now                                             exit 69
    └── InternalError   a bug of ours: an invariant did not hold                                       exit 70

The tree knows nothing of HTTP: each front-end owns one table from class to its answer.
"""

import re
import shlex
from typing import Any, ClassVar

_HOST_AND_PORT = r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}"  # compiled when first needed

_TYPED = frozenset({"name", "path", "directory", "place", "key", "certificate", "host"})
"""Facts that a hint has in a command, which a person copies: names of files may be a stranger's."""


def printable(value: object, limit: int = 200) -> str:
    """`value` as one line of text that cannot move a terminal's cursor, forge a log line or fill a screen.

    Control characters, line and paragraph separators and bidirectional controls become `\\u….` escapes; text longer than
    `limit` characters is cut and marked with an ellipsis.
    """
    text = value if isinstance(value, str) else str(value)
    if len(text) > limit:
        text = text[:limit] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


class EdgewardError(Exception):
    """Something this project says on purpose. `facts` are the data it carries; `str()` is its sentence."""

    sentence: ClassVar[str] = "something went wrong"
    remedy: ClassVar[str] = ""
    exit_status: ClassVar[int] = 70
    fact_limit: ClassVar[int] = 200
    """Characters of one fact that the sentence shows."""
    members: ClassVar[tuple[str, ...]] = ()
    """The facts that a program may want as they are; the others are in the sentence alone."""

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        self._shown = {name: printable(value, self.fact_limit) for name, value in facts.items()}
        super().__init__(self.sentence.format(**self._shown))

    @property
    def hint(self) -> str:
        """The next thing to do, usually a command to type; empty where there is none."""
        return self.remedy.format(
            **{name: shlex.quote(value) if name in _TYPED else value for name, value in self._shown.items()}
        )

    @property
    def code(self) -> str:
        """A stable name for programs: the class name in lower case with hyphens, `TokenSpent` -> `token-spent`."""
        name = type(self).__name__
        return "".join(("-" if i and c.isupper() else "") + c.lower() for i, c in enumerate(name))


def _ask_the_doctor(address: str) -> str:
    """What to type when HOST:PORT does not answer as it should; nothing for an address of another form."""
    return f"find out why: edgeward doctor {address}" if re.fullmatch(_HOST_AND_PORT, address) else ""


# --------------------------------------------------------------------------------------------------------------- branches


class UsageError(EdgewardError):
    """The person at the command line (or in the configuration) asked for something that makes no sense."""

    sentence = "{problem}"
    exit_status = 2


class ExtraMissing(UsageError):
    """Something was asked for whose library is an extra that is not installed."""

    sentence = "this needs the library {module}, which is not installed"
    remedy = "pip install 'edgeward[{extra}]'"


class InputError(EdgewardError):
    """Bytes are not what they were said to be."""

    sentence = "{problem}"
    exit_status = 65


class Refusal(EdgewardError):
    """The request was understood, and a rule refuses it. Nothing was signed."""

    sentence = "refused: {reason}"
    exit_status = 1


class Unavailable(EdgewardError):
    """Something that is needed is not there at the moment; the same request may work later."""

    sentence = "{problem}"
    exit_status = 69


class InternalError(EdgewardError):
    """An invariant of ours did not hold: a bug, never the peer's fault."""

    sentence = "internal error: {problem}"
    remedy = "this is a bug in edgeward; the log has the details"
    exit_status = 70


# ------------------------------------------------------------------------------------------------------------------ input


class Unreadable(InputError):
    """Bytes that do not parse as the structure they should be (`what`), and why (`why`)."""

    sentence = "not a readable {what}: {why}"


class BadProof(InputError):
    """A certificate request whose own signature does not verify: its sender does not hold the private key."""

    sentence = "the request's signature does not verify with the public key in it, so it proves no possession of the private key"
    remedy = "make the request again from the private key: openssl req -new -key device.key -subj /CN=NAME -outform DER"


class UnsupportedKey(InputError):
    """A public or private key of a kind that is not used here, or whose parameters are not sound."""

    sentence = "unsupported key: {why}"
    remedy = "use a P-256 key: openssl ecparam -name prime256v1 -genkey -noout -out device.key"


class WrongPassword(InputError):
    """An encrypted key did not open with the password given."""

    sentence = "the password does not open {what}"
    remedy = "of a password file the first line counts, without its line break; see that it is the right one"


class PasswordNeeded(InputError):
    """An encrypted key was given without a password."""

    sentence = "{what} is encrypted and no password was given"
    remedy = "put the password in a file and give it with --password @FILE"


class BadName(InputError):
    """A name that is not of its kind: a node name, a DNS name, an address."""

    sentence = "{value!r} is not a {kind}: {why}"


class BadToken(InputError):
    """Text that is not a join token at all: it cannot be taken apart."""

    sentence = "this is not a join token: {why}"
    remedy = "a join token is one line with exactly three dots: print one with `edgeward token new --node NAME`"


class TooLarge(InputError):
    """More bytes than the limit for their kind."""

    sentence = "{what} is larger than {limit} bytes"


class BadRequest(InputError):
    """A request of a peer or a program that is not well formed."""

    sentence = "bad request: {why}"


class InsecureFile(InputError):
    """A file that holds a secret and that others may read, or a path that is not a plain file."""

    sentence = "{path}: {why}"
    remedy = "make it yours alone: chmod 600 {path}"


class InsecureDirectory(InsecureFile):
    """A directory for secrets into which others may write, or which is not what it should be."""

    remedy = "make it a directory of your own: chmod 700 {path}"


# --------------------------------------------------------------------------------------------------------------- refusals


class Unauthenticated(Refusal):
    """No proof, or proof that does not hold. One sentence for a malformed, an unknown and a wrong token, so that no answer
    tells which part was right."""

    sentence = "the token is not valid here"
    remedy = "ask the operator for a new one: edgeward token new --node NAME"


class NoEvidence(Unauthenticated):
    """A request that must carry proof and carries none."""

    sentence = "no token and no client certificate were presented"
    remedy = "send `Authorization: Bearer a.b.c` with the last three parts of a join token"


class TokenExpired(Refusal):
    """A genuine token past its time."""

    sentence = "the token expired at {expired_at}"
    remedy = "ask the operator for a new one: edgeward token new --node NAME"


class TokenSpent(Refusal):
    """A genuine token that has been used as often as it may."""

    sentence = "the token has been used {uses} of {uses} times"
    remedy = "ask the operator for a new one: edgeward token new --node NAME"


class TokenRevoked(Refusal):
    """A genuine token that an operator took back."""

    sentence = "the token was revoked at {revoked_at}"
    remedy = "ask the operator for a new one: edgeward token new --node NAME"


class TokenNotForNode(Refusal):
    """A genuine token for another node or another pattern."""

    sentence = "the token is not for node {node}"
    remedy = "ask the operator for one that is: edgeward token new --node {node}"


class TokenNotFromHere(Refusal):
    """A genuine token used from outside the network it is bound to."""

    sentence = "the token may not be used from {address}"


class CertificateRefused(Refusal):
    """A client certificate that is expired, not yet valid, revoked, unknown to the store or of another authority."""

    sentence = "the client certificate is refused: {why}"
    remedy = "join again with a new token: edgeward token new --node NAME"


class OperatorRefused(CertificateRefused):
    """A certificate with which nobody administers this authority."""

    remedy = "on the machine of the authority: edgeward operator new NAME --out DIRECTORY"


class NotAdopted(CertificateRefused):
    """A certificate that a KubeEdge cloud issued before its CA was imported, which has no row here and does not get one."""

    sentence = "the client certificate is refused: {why}"
    remedy = "join again with a token for this name: edgeward token new --node {node}"
    fact_limit = 1000


class NodeBlocked(Refusal):
    """The node was revoked and stays out until an operator lets it back."""

    sentence = "node {node} is blocked: {why}"
    remedy = "if it may return: edgeward token new --node {node} --unblock"


class NodeHasCertificate(Refusal):
    """A pattern token for a name that already has a valid certificate."""

    sentence = "node {node} already has a valid certificate, and a pattern token enrols new names only"
    remedy = "to replace it, make a token for exactly this name: edgeward token new --node {node}"


class PolicyRefused(Refusal):
    """A certificate request that breaks rules of its profile; `violations` has every one of them."""

    sentence = "the certificate request is refused: {violations}"
    fact_limit = 2000

    def __init__(self, violations: tuple[str, ...]) -> None:
        super().__init__(violations="; ".join(violations))
        self.violations = violations


class LegacyEdge(PolicyRefused):
    """A request of an edge older than KubeEdge v1.16, which calls itself what every such edge does."""

    remedy = (
        "upgrade it to v1.16 or later; or let such edges in, at a cost that docs/howto/kubeedge.md states: "
        "edgeward kubeedge import --allow-legacy-identity, and a token for exactly this node: edgeward token new --node {node}"
    )

    def __init__(self, node: str, more: str = "") -> None:
        words = "the edge is older than KubeEdge v1.16: it asks for kubeedge.io, as all such edges do, and not for node"
        super().__init__((f"{words} {printable(node)}{more}",))
        self._shown["node"] = printable(node)


class WrongIdentity(Refusal):
    """A peer that proves to be one node and says it is another."""

    sentence = "the certificate is for node {proven}, not for {claimed}"


class NotFound(Refusal):
    """Nothing of that name or number."""

    sentence = "no {what} {name}"
    lists: ClassVar[dict[str, str]] = {
        "node": "edgeward nodes",
        "token": "edgeward token list",
        "message": "edgeward message list",
    }
    """What shows the things of a kind that there are."""

    @property
    def hint(self) -> str:
        command = self.lists.get(str(self.facts.get("what")))
        return f"see which there are: {command}" if command else super().hint


class NothingPrepared(NotFound):
    """A rotation of the CA whose first step was not made."""

    sentence = "no CA is prepared to take over"
    remedy = "prepare one first, so that devices hear of it: edgeward ca rotate"


class PassphraseGone(NotFound):
    """The generated passphrase of a key store is not where it was put."""

    sentence = "the passphrase of the keys in {directory} is not in {path}"
    remedy = "bring that file from the machine and the user that made it, or give the passphrase with --passphrase-file"


class NotJoined(NotFound):
    """A directory in which no node has joined."""

    sentence = "no node has joined in {directory}"
    remedy = "join first: edgeward join https://HOST:10002 --token @FILE --node NAME; or, if it is elsewhere, name the directory: --dir DIR"


class AlreadyExists(Refusal):
    """Something of that name is there already."""

    sentence = "{what} {name} exists already"


class LocalOnly(Refusal):
    """A request over the network that only the socket in the data directory takes."""

    sentence = "{what} is for the machine of the authority alone"
    remedy = "log in there, and run the command without EDGEWARD_SERVER"


class Misdirected(Refusal):
    """A request under a name that is not this server's (RFC 9110 section 15.5.20)."""

    sentence = "this server is not {host!r}"
    remedy = "call it by a name of its certificate, or add the name: edgeward advertise add {host}"


class QueueFull(Refusal):
    """A message for a node whose queue is as long as it may be."""

    sentence = "the queue of node {node} is full: {waiting} messages with {octets} bytes wait, of {max_messages} and {max_octets}"
    remedy = "see what waits: edgeward message list --node {node}; bring the node online, or cancel some, or raise [delivery]"
    members = ("node", "waiting", "octets", "max_messages", "max_octets")


class MessageConflict(Refusal):
    """A message id that is in use for another message."""

    sentence = "message {msg_id} exists already, with another content or for another node"
    remedy = "give each message an id of its own, or none: then it gets one"


class NotYetTrusted(Refusal):
    """A CA that is to sign although devices that are connected have not confirmed that they trust it."""

    sentence = "not every device has confirmed that it trusts the prepared CA; not yet {nodes} ({count} in all)"
    remedy = "wait for them (edgeward ca rotate --status), or leave them behind: edgeward ca rotate --activate --force"


class KeyPolicyRefused(Refusal):
    """A key that may not be used for this, such as exporting one from hardware."""

    sentence = "the key may not be used for this: {why}"


class AuthorityMismatch(Refusal):
    """The CA that answers is not the one that the token pins (SHA-256 of its DER)."""

    sentence = "the server's CA is {actual}, and the token pins {expected}"
    remedy = (
        "either this is another server than the one that made the token, or somebody is in between: "
        "compare with `edgeward ca show` on the server"
    )


class ServerRefused(Refusal):
    """A server refused our request (4xx); its words are `answer`. The same request will be refused again."""

    sentence = "{url} answered {status}: {answer}"

    @property
    def hint(self) -> str:
        """What the server said is to be done, if anything."""
        return self._shown.get("advice", "")


# ------------------------------------------------------------------------------------------------------------ unavailable


class Busy(Unavailable):
    """A limit on work at one time is reached."""

    sentence = "too busy: {what}"
    remedy = "try again in a few seconds"


class AlreadyRunning(Unavailable):
    """A second server on one data directory."""

    sentence = "another edgeward is running on {path} (process {pid})"
    remedy = "talk to it instead: edgeward nodes --data {path}"


class NodeInUse(Unavailable):
    """A second agent, or a join beside an agent, on one directory."""

    sentence = "another edgeward join or agent is working on {path}"
    remedy = "see what runs there: edgeward agent status --dir {path}; stop it, or take another directory with --dir"


class NotRunning(Unavailable):
    """An administrative command with no server to talk to."""

    sentence = "no edgeward is running on {path}"
    remedy = "start it: edgeward up --data {path}; or, if it runs on another directory, name that one: --data DIR, or EDGEWARD_DATA"


class Unreachable(Unavailable):
    """A peer that cannot be reached over the network."""

    sentence = "cannot reach {address}: {why}"

    @property
    def hint(self) -> str:
        return _ask_the_doctor(self._shown["address"])


class HandshakeFailed(Unavailable):
    """A TLS handshake that did not succeed; `why` is OpenSSL's reason in words."""

    sentence = "TLS with {address} failed: {why}"

    @property
    def hint(self) -> str:
        return _ask_the_doctor(self._shown["address"])


class ServerNotTrusted(HandshakeFailed):
    """A server whose certificate leads to no CA that this end trusts."""

    @property
    def hint(self) -> str:
        return "if its CA was replaced while this node was away, join again with a new token: edgeward token new --node NAME"


class ServerFailing(Unavailable):
    """A server answered our request by saying that it cannot do it now (5xx), or with something that is no answer to it."""

    sentence = "{url} answered {status}: {answer}"


class HookFailed(Unavailable):
    """A program of the operator's, run when a certificate changed, that could not be started, took too long or reported a failure."""

    sentence = "the hook {command} failed: {why}"
    remedy = "it is on_certificate_change in agent.toml; it is run again when the agent starts"


class StoreUnavailable(Unavailable):
    """The database cannot be read or written now: disk full, read-only, gone."""

    sentence = "the store is unavailable: {why}"
    remedy = "check the space and the permissions of the data directory; with --database, that the database runs and its address is right"


class CannotWrite(StoreUnavailable):
    """A file or a directory that cannot be made or written: no space, read-only, no permission."""

    sentence = "cannot write {path}: {why}"
    remedy = "check the space and the permissions there: df -h {directory}; ls -ld {directory}"


class OutcomeUnknown(StoreUnavailable):
    """A write whose commit was asked for and never answered, by a database that could not be asked since."""

    sentence = "the connection to the database broke while a write was being committed, so it may or may not have been made: {why}"
    remedy = "look at what you wanted to change before you try again"


class CannotListen(Unavailable):
    """A port that cannot be opened."""

    sentence = "cannot listen on {address}: {why}"
    remedy = "see who has it: ss -ltunp; or choose other ports: edgeward up --help"


# --------------------------------------------------------------------------------------------------------------- internal


class NotConforming(InternalError):
    """A signed certificate that differs from the plan it was signed for."""

    sentence = "the signed certificate differs from its plan: {differences}"


class SerialCollision(InternalError):
    """A serial number that was issued before: the source of randomness is broken."""

    sentence = "serial {serial} exists already; nothing was signed"


class Conflict(Unavailable):
    """Two changes met in the store and this one lost; it was not made."""

    sentence = "the change was overtaken by another one: {what}"
    remedy = "try again"
