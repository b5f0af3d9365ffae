"""The command line: the same calls as in a notebook, for a shell or a cluster queue."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Sequence

from mgkit import __version__
from mgkit.cli import data, pose, predict, results, train
from mgkit.cli.options import CommandParser
from mgkit.errors import MgkitError

EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_UNREAD = 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0, 1 if `doctor` finds something broken or `predict` leaves something out, 2 for something the user can fix, 130
    for Ctrl-C, 141 where the other end of a pipe was closed.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if (
            len(words) == 3
            and words[0] == "prepare"
            and words[1] in data.READER_NAMES
            and words[2] in ("-h", "--help")
        ):
            data.reader_help(words[1])
            return 0
        options, rest = _parser().parse_known_args(words)
        if rest and options.command is not data.prepare:
            _parser().error(f"unrecognized arguments: {' '.join(rest)}")
        options.rest = rest
        status: int | None = options.command(options)
        sys.stdout.flush()
    except MgkitError as error:
        print(f"mgkit: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return EXIT_UNREAD
    except (KeyboardInterrupt, Exception) as error:
        if not _interrupted(error):
            raise
        print("\nmgkit: interrupted; the same command resumes.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return status or 0


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: in the middle of an import Python makes a RuntimeError of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _nobody_reads() -> bool:
    """Whether the other end of stdout is closed, as `head` closes it; what is left to print then goes nowhere."""
    if not hasattr(select, "poll"):  # on Windows
        return False
    ends = select.poll()
    ends.register(sys.stdout.fileno(), 0)
    closed = any(event & select.POLLERR for _, event in ends.poll(0))
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return closed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mgkit", description="An interactive kit for micro-gesture classification."
    )
    parser.add_argument("--version", action="version", version=f"mgkit {__version__}")
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND", parser_class=CommandParser
    )

    for page in (data, pose, train, predict, results):
        page.add_commands(commands)
    return parser
