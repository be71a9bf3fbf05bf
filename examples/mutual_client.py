"""A client of mutual TLS: it believes servers of ca.crt alone, under the name it dials, and shows its own certificate."""

import socket
import sys

from edgeward import tls


def main(host: str, port: int) -> None:
    context = tls.client_context("ca.crt", certificate="client.crt", key="client.key")
    with socket.create_connection((host, port)) as tcp, context.wrap_socket(tcp, server_hostname=host) as connection:
        said = connection.recv(1000)
    if not said:  # TLS 1.3: a server judges our certificate after the handshake has ended for us
        sys.exit("the server hung up: it does not accept our certificate")
    print(said.decode(), end="")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
