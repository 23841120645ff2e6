"""Runs programs in forks of one that has TensorFlow imported: warm_server.py SOCKET MODULE ...

warm_client.py asks for them. Importing TensorFlow takes seconds of a CPU, which most programs that
the tests start would each pay for. MODULEs are imported, too. It ends with its standard input, and
removes SOCKET and its folder.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import warnings
from typing import Any

from warm_client import NUMBER


def become(command: dict[str, Any], descriptors: list[int]) -> None:
    """Turns this process into that of the program, as far as it can tell."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    # What programs start that name their own interpreter.
    sys.executable = os.environ.get("WARM_PYTHON", sys.executable)
    sys.orig_argv[:] = [sys.executable, *command["arguments"]]
    script, *flags = command["arguments"]
    folder = "" if script == "-c" else os.path.dirname(script)
    if os.path.basename(script) == "__main__.py":  # Its package, as by `python -m`.
        folder = os.path.dirname(folder)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [folder, *filter(None, paths)]
    sys.argv = [script, *flags]
    signal.alarm(command["seconds"])
    # As in pyproject.toml, but for files that others leave open.
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ResourceWarning)
    warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning, "keras")
    if script == "-c":
        code = sys.argv.pop(1)
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    else:
        runpy.run_path(script, run_name="__main__")


def serve_one(connection: socket.socket) -> None:
    """In a process of its own: tells the program's number and, in the end, status and memory.

    Returns in the program's process.
    """
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    message = connection.makefile().readline()
    child = os.fork()
    if child == 0:
        connection.close()
        become(json.loads(message), descriptors)
        return
    for descriptor in descriptors:
        os.close(descriptor)
    connection.sendall(f"{child:{NUMBER}}".encode())
    _, status, usage = os.wait4(child, 0)
    answer = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
    connection.sendall(json.dumps(answer).encode())
    os._exit(0)


def main() -> None:
    path, *modules = sys.argv[1:]
    gc.disable()
    tensorflow = importlib.import_module("tensorflow")
    tensorflow.config.list_physical_devices()  # Looks for GPUs, and says so, before any fork.
    for module in modules:
        importlib.import_module(module)
    # A fork would copy all pages when, at its end, it looks for garbage.
    gc.freeze()
    gc.enable()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print(flush=True)
        while server in select.select([server, sys.stdin], [], [])[0]:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                serve_one(connection)
                return  # The interpreter ends as it does after any program.
            connection.close()
            with contextlib.suppress(ChildProcessError):  # None is left.
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
    shutil.rmtree(os.path.dirname(path))


if __name__ == "__main__":
    main()
