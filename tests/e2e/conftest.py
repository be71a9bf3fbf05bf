"""The authorities that the end-to-end tests share."""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization

from tests.e2e.wire import sec1
from tests.support.fake_cloud import DAY, NOW, FakeCA
from tests.support.server import Server, server


@pytest.fixture(scope="module")
def authority() -> Iterator[Server]:
    with server() as one:
        yield one


@pytest.fixture(scope="module")
def kubeedge_ca() -> FakeCA:
    return FakeCA("KubeEdge")


@pytest.fixture(scope="module")
def migrated(kubeedge_ca: FakeCA) -> Iterator[Server]:
    """An authority that signs with a KubeEdge CA whose key the test has, too; it takes KubeEdge's tokens."""
    with server() as one:
        certificate, key = one.directory / "rootCA.crt", one.directory / "rootCA.key"
        certificate.write_bytes(kubeedge_ca.certificate.public_bytes(serialization.Encoding.PEM))
        key.write_bytes(sec1(kubeedge_ca.key, serialization.Encoding.PEM))
        until_ = (NOW + DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = one.run(
            "ca", "import", "--cert", certificate, "--key", key, "--accept-kubeedge-tokens", "jwt-*", "--until", until_
        )
        assert said.status == 0, said
        yield one
