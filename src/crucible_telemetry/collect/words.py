"""Numbers for words: model names and error types as small integers, bounded."""

import threading
from typing import Final, Generic, TypeVar

T = TypeVar("T")
LIMIT: Final = 65_535
_GROWING: Final = threading.RLock()
"""Held for a new word only; one for all, since new words are rare."""


class Vocabulary(Generic[T]):
    """Words by number, 0 for none; beyond `LIMIT` − 1 words the last number stands for all others.

    Grown in a drain, and by stores that read what another process wrote; read from anywhere.
    """

    __slots__ = ("_limit", "_numbers", "_other", "words")

    def __init__(self, none: T, other: T, limit: int = LIMIT) -> None:
        self.words: list[T] = [none]
        self._numbers: dict[T, int] = {none: 0}
        self._limit = limit
        self._other = other

    @property
    def full(self) -> bool:
        """Whether new words share the last number."""
        return len(self.words) >= self._limit

    def number(self, word: T) -> int:
        """The number of a word, new words included."""
        found = self._numbers.get(word)
        if found is not None:
            return found
        with _GROWING:
            return self._grown(word)

    def _grown(self, word: T) -> int:
        found = self._numbers.get(word)
        if found is not None:
            return found
        if self.full:
            return self._limit
        # The word before its number: a reader that has the number finds the word.
        self.words.append(word)
        self._numbers[word] = len(self.words) - 1
        return len(self.words) - 1

    def word(self, number: int) -> T:
        """The word of a number."""
        return self.words[number] if number < len(self.words) else self._other
