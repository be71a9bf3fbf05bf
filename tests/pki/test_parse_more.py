"""Exceptions of the library that fuzzing found beyond the seven that it documents: all of them become one refusal."""

import pytest
from cryptography import x509
from cryptography.exceptions import InternalError
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from edgeward.errors import Unreadable
from edgeward.pki import der, parse
from tests.tools import seeds


def test_a_tls_feature_without_a_name_is_unreadable() -> None:
    """cryptography 50.0.2 raises `KeyError: 21` when the extensions are read."""
    subject = x509.Name([])
    feature = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.24"), der.sequence(der.integer(21)))
    builder = x509.CertificateBuilder(subject, subject, seeds.key().public_key(), 5, seeds.NOW, seeds.NOW)
    octets = builder.add_extension(feature, False).sign(seeds.key(), hashes.SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(Unreadable):
        parse.certificate(octets)


@pytest.mark.parametrize(
    "error", [KeyError(21), InternalError("Unknown OpenSSL error", []), OverflowError(), TypeError("x")]
)
def test_what_escapes_from_the_library_is_mapped(error: Exception) -> None:
    def read() -> None:
        raise error

    with pytest.raises(Unreadable):
        parse.guarded("thing", read)
