"""An HTTPS server of one-way TLS: it proves itself and asks nothing of its clients."""

import http.server
import sys

from edgeward import tls


class Greeter(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\n")


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Greeter)
    server.socket = tls.server_context(certificate="server.crt", key="server.key").wrap_socket(
        server.socket, server_side=True
    )
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
