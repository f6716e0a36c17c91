"""What libraries log and warn of, as one line each that begins with `warning:`."""

import logging
import re

_ORIGIN = re.compile(r"^\S+:\d+: \w+: ")  # of Python's own warnings: file, line and kind


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The first line of the message alone."""
        lines = record.getMessage().strip().splitlines() or [""]
        return f"warning: {_ORIGIN.sub('', lines[0])}"


def show_logs() -> None:
    """From now on warnings of libraries are one line each. An exception that a library logs is left out: it is raised
    too, and told by whoever catches it."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    handler.addFilter(lambda record: not record.exc_info)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.captureWarnings(True)
