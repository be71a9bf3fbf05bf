"""Making private keys: the one place where the library's randomness becomes a key.

The kinds are the ones that X.509 programs of today accept. RSA below 2048 bits, other curves and DSA are not made here.
"""

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from edgeward.errors import UsageError

DEFAULT = "ec:P-256"

KINDS = (
    "ec:P-256", "ec:P-384", "ec:P-521", "rsa:2048", "rsa:3072", "rsa:4096", "rsa:8192", "ed25519", "ed448",
    "ml-dsa-44", "ml-dsa-65", "ml-dsa-87",
)  # fmt: skip
"""How the kinds are written; `rsa:N` takes every N from 2048 to 8192 in steps of 256."""

_CURVES: dict[str, ec.EllipticCurve] = {
    "p-256": ec.SECP256R1(),
    "p256": ec.SECP256R1(),
    "prime256v1": ec.SECP256R1(),
    "p-384": ec.SECP384R1(),
    "p384": ec.SECP384R1(),
    "secp384r1": ec.SECP384R1(),
    "p-521": ec.SECP521R1(),
    "p521": ec.SECP521R1(),
    "secp521r1": ec.SECP521R1(),
}


def new(kind: str = DEFAULT) -> PrivateKeyTypes:
    """A new private key of `kind`, as `KINDS` lists them, in upper or lower case.

    Takes microseconds, for RSA up to half a minute (8192 bits). Raises `UsageError` for another kind.
    """
    name, _, size = kind.strip().lower().partition(":")
    if name == "rsa":
        bits = int(size or 3072) if (size or "3072").isdigit() else 0
        if not 2048 <= bits <= 8192 or bits % 256:
            raise UsageError(problem=f"RSA keys have 2048 to 8192 bits in steps of 256, not {size}")
        return rsa.generate_private_key(65537, bits)
    curve = _CURVES.get((size or "p-256") if name == "ec" else kind.strip().lower())
    if curve is not None:
        return ec.generate_private_key(curve)
    if name == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if name == "ed448":
        return ed448.Ed448PrivateKey.generate()
    if name == "ml-dsa-44":
        return mldsa.MLDSA44PrivateKey.generate()
    if name == "ml-dsa-65":
        return mldsa.MLDSA65PrivateKey.generate()
    if name == "ml-dsa-87":
        return mldsa.MLDSA87PrivateKey.generate()
    raise UsageError(problem=f"no kind of key is called {kind!r}; there are {', '.join(KINDS)}")
