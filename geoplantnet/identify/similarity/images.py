"""What is known of each image of an index, in columns: repeated words are kept once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError
from geoplantnet.identify.network import ORGANS


@dataclass(frozen=True, kw_only=True)
class IndexedImage:
    """An image, and what is said of it beside an answer."""

    image: str
    """Its SHA-256 in the store, or its path. Unique in an index."""
    observation: str = ""
    """The observation it belongs to; an image without one stands for itself."""
    species: str = ""
    """taxonID."""
    organ: str = ""
    """One of `identify.network.ORGANS`, or empty."""
    author: str = ""
    license: str = ""
    date: str = ""
    """Day it was taken, ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """An image that a search found."""

    image: IndexedImage
    similarity: float
    """Cosine of the angle between its features and those asked with, -1..1."""


class Column:
    """Rows of a fixed width that only grow: what `view` gave before stays true while more is added."""

    def __init__(self, start: npt.NDArray) -> None:  # type: ignore[type-arg]
        self._values = start
        self._n = len(start)

    def __len__(self) -> int:
        return self._n

    def view(self) -> npt.NDArray:  # type: ignore[type-arg]
        return self._values[: self._n]

    def cut(self, n: int) -> None:
        """Forget the rows from n on."""
        self._n = min(n, self._n)

    def extend(self, values: npt.NDArray) -> None:  # type: ignore[type-arg]
        n = self._n + len(values)
        if n > len(self._values):
            grown = np.empty((max(n, 2 * self._n, 16), *self._values.shape[1:]), self._values.dtype)
            grown[: self._n] = self.view()
            self._values = grown
        self._values[self._n : n] = values
        self._n = n


class ImageTable:
    """Images by row, in columns. Rows are added, never changed: reading while adding is safe for the rows that were there."""

    WORDS = tuple(field.name for field in fields(IndexedImage) if field.name != "image")
    """Columns of which many images share a value."""

    def __init__(
        self, names: Sequence[str] = (), words: Mapping[str, Sequence[str]] | None = None, codes: npt.NDArray[np.int32] | None = None
    ) -> None:
        self.names = list(names)
        """Of the images."""
        self.words = {word: list(words[word]) if words else [] for word in self.WORDS}
        """The different values of each column of `WORDS`."""
        self.codes = Column(np.empty((0, len(self.WORDS)), np.int32) if codes is None else codes)
        """(n, columns of `WORDS`): positions in `words`."""
        self._code_of = {word: {value: i for i, value in enumerate(values)} for word, values in self.words.items()}

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> IndexedImage:
        codes = self.codes.view()[row]
        return IndexedImage(image=self.names[row], **{word: self.words[word][c] for word, c in zip(self.WORDS, codes, strict=True)})

    def extend(self, images: Iterable[IndexedImage]) -> None:
        images = list(images)
        codes = np.empty((len(images), len(self.WORDS)), np.int32)
        for column, word in enumerate(self.WORDS):
            of, values = self._code_of[word], self.words[word]
            for i, image in enumerate(images):
                value = getattr(image, word)
                if value not in of:
                    of[value] = len(values)
                    values.append(value)
                codes[i, column] = of[value]
        self.names += [image.image for image in images]
        self.codes.extend(codes)

    def cut(self, n: int) -> None:
        """Forget the rows from n on; words that only they had stay, and say nothing."""
        del self.names[n:]
        self.codes.cut(n)

    def code(self, word: str, value: str) -> int:
        """Position of a value in a column; -1 where no image has it."""
        return self._code_of[word].get(value, -1)

    def taken(self, rows: npt.NDArray[np.int64]) -> ImageTable:
        """These rows alone, with no word that none of them has."""
        codes = self.codes.view()[rows]
        words = {}
        for column, word in enumerate(self.WORDS):
            used, codes[:, column] = np.unique(codes[:, column], return_inverse=True)
            words[word] = [self.words[word][i] for i in used]
        return ImageTable([self.names[row] for row in rows], words, codes)


def check_images(images: Sequence[IndexedImage]) -> None:
    """Raises InputError for an image without a name, one given twice, an organ that is none, or what is no text."""
    seen: set[str] = set()
    for image in images:
        if not image.image:
            raise InputError("an image without a name was to be indexed; its SHA-256 or path was expected")
        if image.image in seen:
            raise InputError(f"image {image.image} is given twice; give each once")
        seen.add(image.image)
        if image.organ not in ("", *ORGANS):
            raise InputError(f"organ of image {image.image} is {image.organ!r}; one of {', '.join(ORGANS)}, or empty, was expected")
        for field in fields(image):
            value = getattr(image, field.name)
            try:
                value.encode()
            except (AttributeError, UnicodeEncodeError) as error:
                raise InputError(f"{field.name} of image {image.image} is {value!r}; text was expected") from error
