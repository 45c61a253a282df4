"""A parser that names the option or command that was probably meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn


class GuessingParser(argparse.ArgumentParser):
    """Also makes each command complain about its own options, below its own usage.

    Attributes:
        later_words: the positional argument that takes words behind an option as well; argparse
            ends one that may be empty at the first option.
    """

    later_words = ""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse, but a command without commands of its own takes no unknown word."""
        found, unknown = super().parse_known_args(args, namespace)
        if self.later_words and not any(word.startswith("-") for word in unknown):
            getattr(found, self.later_words).extend(unknown)
            unknown = []
        if unknown and self._subparsers is None:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Exit with code 2, the message, and a guess where there is a close one."""
        wrong = re.match(r"unrecognized arguments: (--[^\s=]+)", message)
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if wrong is not None:
            message += _guess(wrong[1], self._option_string_actions)
        elif choice is not None:
            message += _guess(choice[1], re.findall(r"[\w.-]+", choice[2]))
        super().error(message)


def _guess(word: str, names: Iterable[str]) -> str:
    return "".join(f"; did you mean {name}?" for name in get_close_matches(word, names, n=1))
