"""A change of the server certificate that failed halfway: it is said, and made good without anybody's doing once it can be."""

import contextlib
import json
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from edgeward.errors import EdgewardError
from tests.support.kubeedge_cloud import Cloud
from tests.support.server import Server, server, until


def served(one: Server) -> x509.Certificate:
    """The certificate that a client is shown now."""
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", one.https)).encode())


def names(one: Server) -> set[str]:
    found = served(one).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


@contextlib.contextmanager
def no_place_for_keys(one: Server):
    """A key directory that is not there."""
    keys, aside = one.data / "keys", one.data / "keys.aside"
    keys.rename(aside)
    keys.write_text("in the way")
    try:
        yield
    finally:
        keys.unlink()
        aside.rename(keys)


def test_a_reload_that_failed_is_tried_again_by_itself() -> None:
    with server() as one:
        with no_place_for_keys(one):
            with pytest.raises(EdgewardError):
                one.api("PUT", "/v1/advertised", {"names": ["new.example"]})
            assert "new.example" not in names(one), "it goes on with the one it has"
        until(lambda: "new.example" in names(one), "the new certificate", 90)
        assert one.api("GET", "/v1/status")["names"][0] == "new.example"


def test_an_import_that_failed_in_the_reload_is_served_soon_and_may_be_done_again() -> None:
    cloud = Cloud.new(now=datetime.now(UTC) - timedelta(days=1))
    with server() as one:
        body = json.dumps(cloud.secrets()[0]).encode()
        assert one.run("kubeedge", "import", "-", stdin=body).status == 0
        served(one).verify_directly_issued_by(cloud.certificate)
        before = served(one).serial_number
        with no_place_for_keys(one):
            pair = cloud.server(x509.DNSName("dialled.example"))
            both = json.dumps({"kind": "List", "apiVersion": "v1", "items": cloud.secrets(pair)}).encode()
            said = one.run("kubeedge", "import", "-", stdin=both)
            assert said.status == 69, said
            assert "the CA is imported; the new server certificate is not served yet" in said.err
            assert served(one).serial_number == before
        said = one.run("kubeedge", "import", "-", stdin=both)
        assert said.status == 0, said
        assert "dialled.example" in names(one)
