"""A `python` whose programs run in forks of warm_server.py: warm_client.py SOCKET ARGUMENT ..."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from types import FrameType

NUMBER = 20  # Bytes in which the server tells a process's number.


def ask(
    server: str,
    arguments: Sequence[str],
    descriptors: Sequence[int],
    *,
    folder: str,
    environment: Mapping[str, str],
    seconds: int = 600,
) -> tuple[socket.socket, int]:
    """Starts a program; after `seconds` it is killed.

    Args:
      server: the socket's path.
      arguments: what would follow `python` in a command line.
      descriptors: standard input, output and error.

    Returns:
      What the exit status and the memory will come from, as JSON, and the process's number.
    """
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(server)
    command = {"arguments": arguments, "folder": folder, "seconds": seconds}
    message = json.dumps(command | {"environment": dict(environment)})
    socket.send_fds(connection, [b" "], descriptors)
    connection.sendall(f"{message}\n".encode())
    return connection, int(connection.recv(NUMBER, socket.MSG_WAITALL))


def main() -> None:
    server, *arguments = sys.argv[1:]
    connection, child = ask(
        server, arguments, (0, 1, 2), folder=os.getcwd(), environment=os.environ
    )

    def forward(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    status, _ = json.loads(connection.recv(100))
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
