"""The work of one verification: counted, remembered, and stopped at the budget.

When the budget is spent the answer is "not verified", never "valid". What depends on one certificate alone is worked
out once, however many paths it is in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from edgeward.errors import Unreadable
from edgeward.pki.parse import guarded
from edgeward.pki.verify import der as tlv
from edgeward.pki.verify.algorithms import Algorithms, Signed, key_objection, signature_objection, verify_signature
from edgeward.pki.verify.options import Budget

_Value = TypeVar("_Value")

_EC_PUBLIC_KEY = bytes.fromhex("2a8648ce3d0201")  # 1.2.840.10045.2.1, the value octets


def _load(spki: bytes) -> PublicKeyTypes | str:
    """The public key in a SubjectPublicKeyInfo, or why it cannot be used."""
    try:
        if _specifies_curve(spki):
            return "its curve is not given by name"
        return guarded("public key", lambda: serialization.load_der_public_key(spki))
    except Unreadable:
        return "it is malformed or of a kind that is not supported"


def _specifies_curve(spki: bytes) -> bool:
    """Whether an elliptic curve is spelled out and not named, which RFC 5480 section 2.1.1 forbids.

    The library reads some of them, and a curve of the attacker's choosing has broken signature checks before.
    """
    algorithm = tlv.children(tlv.children(tlv.only(spki, tlv.SEQUENCE).content)[0].content)
    parameters = [part.tag for part in algorithm[1:]]
    return algorithm[0].content == _EC_PUBLIC_KEY and parameters != [tlv.OBJECT_IDENTIFIER]


@dataclass(slots=True)
class Meter:
    """What has been spent of a `Budget`. `spent` says in words which part of it ran out first, or is empty."""

    budget: Budget
    spent: str = ""
    _counts: dict[str, int] = field(default_factory=dict)
    _keys: dict[bytes, PublicKeyTypes | str] = field(default_factory=dict)
    _outcomes: dict[tuple[bytes, bytes, bytes], bool] = field(default_factory=dict)
    _memory: dict[tuple[str, bytes], object] = field(default_factory=dict)

    def once(self, what: str, der: bytes, work: Callable[[], _Value]) -> _Value:
        """`work()`, done once for each certificate `der`; `what` names the result."""
        about = (what, der)
        if about not in self._memory:
            self._memory[about] = work()
        return cast(_Value, self._memory[about])

    def take(self, what: str, amount: int = 1) -> bool:
        """Spend `amount` of the part of the budget called `what` ("steps", "paths", …). False when there is not so much
        left.
        """
        limit: int = getattr(self.budget, what)
        if self._counts.get(what, 0) + amount > limit:
            self.spent = self.spent or f"{limit} {what}"
            return False
        self._counts[what] = self._counts.get(what, 0) + amount
        return True

    def key(self, spki: bytes) -> PublicKeyTypes | str:
        """The public key in a SubjectPublicKeyInfo, or why it cannot be used."""
        if spki not in self._keys:
            self._keys[spki] = _load(spki)
        return self._keys[spki]

    def verifies(self, signed: Signed, spki: bytes, algorithms: Algorithms) -> bool:
        """Whether the key in `spki` made the signature and both are strong enough. False once the budget is spent."""
        key = self.key(spki)
        if isinstance(key, str) or key_objection(key, algorithms) or signature_objection(signed, algorithms):
            return False
        about = (signed.octets, signed.signature, spki)
        if about in self._outcomes:
            return self._outcomes[about]
        if not self.take("signatures"):
            return False
        try:
            guarded("signature", lambda: verify_signature(key, signed))
            outcome = True
        except Unreadable:  # `guarded` maps InvalidSignature and the rest
            outcome = False
        self._outcomes[about] = outcome
        return outcome
