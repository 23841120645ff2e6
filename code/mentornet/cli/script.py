"""Start-up and error handling of scripts."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from absl import app, flags, logging

from mentornet.core.errors import InputError, WorkerLostError

FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # Flags belong to the program that was started.


def warn(message: str) -> None:
    """Prints a warning to standard error."""
    print(f"WARNING: {message}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Exempts the modules imported here, which are never garbage, from garbage collection.

    Passes over TensorFlow's many objects, during the import and again at exit, take 2 of the 5
    seconds of CPU time of an empty script.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def load_tensorflow(gpus: str | None = None) -> None:
    """Selects the GPUs and imports TensorFlow without showing the lines that it prints at start-up.

    TF_CPP_MIN_LOG_LEVEL=0 or 1 shows those lines; 2, the default, and 3 hide them. On x86, oneDNN
    computes convolutions and matrix products unless TF_ENABLE_ONEDNN_OPTS=0: TensorFlow itself
    turns it on only for processors with AVX-512 VNNI, but with AVX2 it is faster, too. A training
    and its evaluation can share a GPU: neither takes all of its memory, unless
    TF_FORCE_GPU_ALLOW_GROWTH is false.

    Args:
      gpus: those that the process may see, as CUDA numbers them; by default those of the flags.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = _gpus() if gpus is None else gpus
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    if platform.machine() in ("x86_64", "AMD64"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") in ("0", "1"):
        with _uncollected():
            importlib.import_module("tensorflow")
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with _uncollected():
            tensorflow = importlib.import_module("tensorflow")
        # The search for GPUs prints that CUDA cannot be initialised.
        tensorflow.config.list_physical_devices()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _gpus() -> str:
    """The GPUs that the process may see, as CUDA numbers them."""
    if "device_id" not in FLAGS:
        return "-1"
    device = FLAGS["device_id"]
    if device.present:
        return device.value
    several = "num_devices" in FLAGS and FLAGS["num_devices"].value > 1
    first = ",".join(map(str, range(FLAGS["num_devices"].value))) if several else device.value
    return os.environ.get("CUDA_VISIBLE_DEVICES", first)


def _start_anew(error: WorkerLostError) -> None:
    """Executes the script again, which resumes the run and waits for the lost worker."""
    warn(f"Lost contact with another worker ({error}). Restarting from the latest checkpoint.")
    # The last of several values counts, and --overwrite would delete the checkpoint.
    last = ["--nooverwrite"] if error.has_opened and "overwrite" in FLAGS else []
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], *last])


def run(main: Callable[..., Any], *arguments: str) -> None:
    """Parses the flags and runs `main`; an InputError ends it with one line and status 2.

    `main` reads FLAGS, imports modules that need TensorFlow, and makes one call into the package.
    It gets the values of the positional `arguments`, all of which are required; one that ends in
    "..." may be repeated.
    """

    def parse(argv: list[str]) -> list[str]:
        try:
            rest = FLAGS(argv)
            if missing := arguments[len(rest) - 1 :]:
                raise flags.Error(f"Missing argument: {' '.join(missing)}")
            extra = rest[len(arguments) + 1 :]
            if extra and not (arguments and arguments[-1].endswith("...")):
                raise flags.Error(f"Unexpected argument: {' '.join(extra)}")
            return rest
        except SystemExit:  # absl's --help ends with status 1.
            sys.exit(0)
        except (flags.Error, UnicodeDecodeError) as error:  # Of a --flagfile.
            print(f"error: {error}", file=sys.stderr)
            print("Run with --help for a list of flags.", file=sys.stderr)
            sys.exit(2)

    def guarded(argv: list[str]) -> None:
        try:
            main(*argv[1:])
        except (InputError, OSError) as error:  # E.g. a full disk.
            message = " ".join(str(error).split())
            print(f"error: {message}", file=sys.stderr, flush=True)
            sys.exit(2)
        except WorkerLostError as error:
            _start_anew(error)
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr, flush=True)
            sys.exit(130)

    logging.set_verbosity(logging.WARNING)
    app.run(guarded, flags_parser=parse)


def run_command(command: ModuleType) -> None:
    """Runs a module of `cli.commands` as the main program; `--help` shows its docstring."""
    sys.modules["__main__"].__doc__ = command.__doc__
    command.define_flags()
    flags.adopt_module_key_flags(command)
    run(command.main, *getattr(command, "ARGUMENTS", ()))
