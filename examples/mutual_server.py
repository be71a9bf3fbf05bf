"""A server of mutual TLS: nobody without a certificate of ca.crt gets a word out of it. Changed files count from the next handshake on."""

import asyncio
import sys

from edgeward import tls


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    subject = dict(pair[0] for pair in writer.get_extra_info("peercert")["subject"])
    writer.write(f"hello {subject['commonName']}\n".encode())
    writer.close()


async def main(port: int) -> None:
    context = tls.server_context(certificate="server.crt", key="server.key", client_ca="ca.crt")
    async with await asyncio.start_server(greet, "127.0.0.1", port, ssl=context) as server:
        print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
