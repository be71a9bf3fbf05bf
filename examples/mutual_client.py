"""A client of mutual TLS: it believes servers of ca.crt alone, under the name it dials, and shows its own certificate."""

import socket
import sys

from edgeward import tls


def main(host: str, port: int) -> None:
    context = tls.client_context("ca.crt", certificate="client.crt", key="client.key")
    with socket.create_connection((host, port)) as tcp, context.wrap_socket(tcp, server_hostname=host) as connection:
        print(connection.recv(1000).decode(), end="")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
