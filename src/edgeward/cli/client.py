"""The command line's way to a running authority: HTTP on the Unix socket in its data directory."""

import http.client
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgeward.cli.options import SOCKET
from edgeward.errors import EdgewardError, NotRunning, Unreachable


class Answered(EdgewardError):
    """A problem that the server answered, with its own words, hint and exit status."""

    sentence = "{title}"
    remedy = "{hint}"

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(title=problem.get("title", "the server refused"), hint=problem.get("hint", ""))
        self.exit_status = int(problem.get("exit_status", 1))  # type: ignore[misc]  # this one error has another's status


class _Connection(http.client.HTTPConnection):
    def __init__(self, data: Path) -> None:
        super().__init__("localhost")
        self._data = data

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        try:
            self.sock.connect(str(self._data / SOCKET))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NotRunning(path=self._data) from error
        except OSError as error:
            raise Unreachable(address=self._data / SOCKET, why=error.strerror or str(error)) from error


class Client:
    """Calls to the authority whose data directory is `data`. Raises `NotRunning`, or what the server answered."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call; the decoded JSON of its answer."""
        response = self._request(method, path, body)
        text = self._read(response.read)
        return msgspec.json.decode(text) if text else None

    def stream(self, path: str) -> Iterator[Any]:
        """The JSON objects of an endless answer, as they come. Raises `Unreachable` when the server stops."""
        response = self._request("GET", path, None)
        while line := self._read(response.readline):
            yield msgspec.json.decode(line)
        raise Unreachable(address=self._data / SOCKET, why="the server has stopped")

    def _read(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (http.client.HTTPException, OSError) as error:
            raise Unreachable(address=self._data / SOCKET, why="the server closed the connection") from error

    def _request(self, method: str, path: str, body: Any) -> http.client.HTTPResponse:
        connection = _Connection(self._data)
        try:
            encoded = None if body is None else msgspec.json.encode(body)
            connection.request(method, path, encoded, {"Content-Type": "application/json"} if encoded else {})
            response = connection.getresponse()
        except (http.client.HTTPException, ConnectionError) as error:
            raise Unreachable(
                address=self._data / SOCKET, why=str(error) or "the server closed the connection"
            ) from error
        if response.status >= 400:
            text = self._read(response.read)
            try:
                raise Answered(msgspec.json.decode(text))
            except msgspec.DecodeError as error:
                raise Unreachable(address=self._data / SOCKET, why=f"it answered {response.status}") from error
        return response
