"""An index of images: the most similar observations to a photo, of a flora, of some species, of an organ."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from geoplantnet.errors import InputError, LookupFailed, ModelError, did_you_mean
from geoplantnet.identify.network import Card
from geoplantnet.identify.similarity.files import CHUNK, Contents, read, write
from geoplantnet.identify.similarity.images import Column, Hit, ImageTable, IndexedImage, check_images
from geoplantnet.identify.similarity.nearest import Parting, Rows, by_hamming, cosines
from geoplantnet.identify.similarity.rmmh import Hashing, fit_rmmh, unit_features

SHORTLIST = 100
"""Images taken by Hamming distance and ranked anew by cosine, unless there are many: then the root of their number, or ten for each asked for."""
RELATED = 40
"""The same, of one species, where a candidate's images are asked for; or eight for each."""
EXACT = 200
"""Among so few images, or fewer, none is left out by its code."""
_KEPT = 64
"""Selections whose codes are kept side by side."""

_OBSERVATION, _SPECIES, _ORGAN = (ImageTable.WORDS.index(word) for word in ("observation", "species", "organ"))

Key = tuple[str | None, str | None]
"""A selection: flora, organ; None for all."""


@dataclass(frozen=True, kw_only=True)
class _State:
    """What a search sees from its beginning to its end, whatever is added or removed meanwhile."""

    n: int
    codes: npt.NDArray[np.uint8]
    """(n, bits / 8)."""
    opened: npt.NDArray[np.float16]
    """(m, d): features of the first rows, in the file they were opened from."""
    added: npt.NDArray[np.float16]
    """(n - m, d): of the rows added since, in memory."""
    alive: npt.NDArray[np.bool_]
    """(n,): rows not removed."""
    generation: int
    """Of removals: a selection made before one is not used after it."""

    def features(self, rows: Rows) -> npt.NDArray[np.float16]:
        m = len(self.opened)
        if not len(self.added):
            return self.opened[rows]
        found = np.empty((len(rows), self.added.shape[1]), np.float16)
        old = rows < m
        found[old], found[~old] = self.opened[rows[old]], self.added[rows[~old] - m]
        return found


@dataclass(frozen=True, kw_only=True)
class _Query:
    """Photos that are asked with."""

    views: npt.NDArray[np.float32]
    """(v, d), of length 1."""
    codes: npt.NDArray[np.uint8]
    """(v, bits / 8)."""

    def __getitem__(self, photos: npt.NDArray[np.int64]) -> _Query:
        return _Query(views=self.views[photos], codes=self.codes[photos])


@dataclass(frozen=True, kw_only=True)
class _Among:
    """The images a search is among."""

    rows: Rows | None
    """None: all, from 0 on."""
    codes: npt.NDArray[np.uint8]
    """Of these rows, side by side."""
    parting: Parting | None = None
    """Of these codes; None: they are few, or together for this search alone."""

    def nearest(self, codes: npt.NDArray[np.uint8], k: int, enough: int) -> Rows:
        """Rows of the k nearest by Hamming distance to each code; all where they are `enough` or fewer."""
        n = len(self.codes)
        if n <= max(enough, k):
            places = np.arange(n)
        else:
            cells = self.parting.of(self.codes) if self.parting and k < n // 50 else None
            places = np.unique(np.concatenate([by_hamming(code, self.codes, k, cells) for code in codes]))
        return places if self.rows is None else self.rows[places]


class _Selection:
    """Rows of a flora and an organ, with their codes side by side. It catches up with what was added when it is asked."""

    def __init__(self, width: int) -> None:
        self._rows = Column(np.empty(0, np.int64))
        self._codes = Column(np.empty((0, width), np.uint8))
        self._seen = 0
        self._lock = threading.Lock()
        self._parting = Parting()

    def at(self, state: _State, keeps: npt.NDArray[np.bool_] | None, table: ImageTable, organ: int | None) -> _Among:
        """Rows below `state.n` of species that `keeps` (by their code; None: all) and of `organ`."""
        with self._lock:
            if self._seen < state.n:
                new = np.arange(self._seen, state.n)
                words = table.codes.view()[self._seen : state.n]
                kept = state.alive[self._seen :]
                if keeps is not None:
                    kept = kept & keeps[words[:, _SPECIES]]
                if organ is not None:
                    kept = kept & (words[:, _ORGAN] == organ)
                self._rows.extend(new[kept])
                self._codes.extend(state.codes[self._seen :][kept])
                self._seen = state.n
            rows, codes = self._rows.view(), self._codes.view()
        n = int(np.searchsorted(rows, state.n))
        return _Among(rows=rows[:n], codes=codes[:n], parting=self._parting)


class ImageIndex:
    """Images by what they look like. Any number of threads may search while one adds or removes: each search sees what was there when it began."""

    def __init__(self, hashing: Hashing, *, floras: Mapping[str, Collection[str]] | None = None, network: str = "") -> None:
        """`floras`: taxonIDs by the name of a flora. `network`: name and version of the net whose features it holds (`named`)."""
        codes, features = np.empty((0, hashing.bits // 8), np.uint8), np.empty((0, hashing.dimensions), np.float16)
        self._begin(Contents(hashing=hashing, floras=floras or {}, network=network, table=ImageTable(), codes=codes, features=features))

    def _begin(self, contents: Contents) -> None:
        hashing, table = contents.hashing, contents.table
        self.hashing = hashing
        self.floras = {name: frozenset(species) for name, species in contents.floras.items()}
        self.network = contents.network
        self._table = table
        self._codes = Column(contents.codes)
        self._added = Column(np.empty((0, hashing.dimensions), np.float16))
        self._row_of = {name: row for row, name in enumerate(table.names)}
        self._rows_of: dict[int, Column] = {}
        self._file_under_species(0)
        self._selections: OrderedDict[tuple[int, Key], _Selection] = OrderedDict()
        self._parting = Parting()
        self._writing = threading.Lock()
        self._selecting = threading.Lock()
        n = len(table)
        self._state = _State(
            n=n, codes=contents.codes, opened=contents.features, added=self._added.view(), alive=np.ones(n, bool), generation=0
        )

    @classmethod
    def train(
        cls,
        features: npt.NDArray[np.floating],
        *,
        bits: int = 256,
        seed: int = 0,
        floras: Mapping[str, Collection[str]] | None = None,
        network: str = "",
    ) -> ImageIndex:
        """An index without images, its codes learnt from features (n, d) such as it will hold: some thousands are enough, 32 the least."""
        return cls(fit_rmmh(features, bits=bits, seed=seed), floras=floras, network=network)

    @classmethod
    def open(cls, folder: str | Path, *, floras: Mapping[str, Collection[str]] | None = None, verify: bool = True) -> ImageIndex:
        """The index saved in a folder. Features stay in their file, mapped; the rest is read into memory.

        `floras` takes the place of the saved ones. Raises InputError for what is no index of ours or of a newer version, and
        IntegrityError for files that differ from their SHA-256 (`verify=False` does not read the features for it).
        """
        contents = read(Path(folder), verify=verify)
        index = cls.__new__(cls)
        index._begin(contents if floras is None else replace(contents, floras=floras))
        return index

    def save(self, folder: str | Path) -> None:
        """Write the index as a folder, in one step; removed images are not in it."""
        state = self._state
        rows = np.flatnonzero(state.alive)
        contents = Contents(
            hashing=self.hashing,
            floras=self.floras,
            network=self.network,
            table=self._table.taken(rows),
            codes=state.codes[rows],
            features=state.opened,
        )
        write(Path(folder), contents, (state.features(part) for part in np.array_split(rows, len(rows) // CHUNK + 1)))

    def __len__(self) -> int:
        """Images in it."""
        return int(self._state.alive.sum())

    def __contains__(self, image: object) -> bool:
        return image in self._row_of

    def __iter__(self) -> Iterator[IndexedImage]:
        """Its images, the oldest first."""
        state = self._state
        return (self._table[int(row)] for row in np.flatnonzero(state.alive))

    def check(self, card: Card, dimensions: int | None = None) -> None:
        """Raises ModelError where its features are another net's than `card`'s, or of other than so many dimensions."""
        if self.network and self.network != named(card):
            raise ModelError(
                f"the index holds features of {self.network!r}, the net is {named(card)!r}; index the images anew with this net"
            )
        if dimensions is not None and dimensions != self.hashing.dimensions:
            raise ModelError(
                f"the index holds features of {self.hashing.dimensions} dimensions, the net gives {dimensions}; index the images anew"
            )

    def add(self, features: npt.NDArray[np.floating], images: Sequence[IndexedImage]) -> int:
        """Add images with their features (n, d), of any length but 0. Nothing is learnt anew. Returns how many took the place of an image of that name.

        Raises InputError for features that do not fit or are not finite, and for images that cannot be named. Whatever is raised, none is added.
        """
        unit = self._unit(features)
        if len(unit) != len(images):
            raise InputError(f"{len(unit)} features and {len(images)} images were given; one each was expected")
        check_images(images)
        codes = self.hashing.codes(unit)
        with self._writing:
            before = self._state
            first = before.n
            replaced = [self._row_of[image.image] for image in images if image.image in self._row_of]
            try:
                self._codes.extend(codes)
                self._added.extend(unit.astype(np.float16))
                self._table.extend(images)
                self._file_under_species(first)
                alive = np.ones(first + len(images), bool)
                alive[:first] = before.alive
                alive[replaced] = False
                row_of = {image.image: first + i for i, image in enumerate(images)}
            except BaseException:  # no memory, or an end in the middle: names and features must go on fitting each other
                self._cut(first)
                raise
            self._row_of |= row_of
            self._publish(alive, removed=bool(replaced))
        return len(replaced)

    def _cut(self, n: int) -> None:
        self._codes.cut(n)
        self._added.cut(n - len(self._state.opened))
        self._table.cut(n)
        for rows in self._rows_of.values():
            rows.cut(int(np.searchsorted(rows.view(), n)))

    def features_of(self, images: Sequence[str]) -> npt.NDArray[np.float16]:
        """Features (n, d) of images that are in it, by name, as they are kept: of length 1, in 16 bits. Raises LookupFailed for one that is not."""
        if missing := next((image for image in images if image not in self._row_of), None):
            raise LookupFailed(f"image {missing!r} is not in the index")
        state = self._state
        return state.features(np.array([self._row_of[image] for image in images], np.int64))

    def image(self, name: str) -> IndexedImage:
        """What is kept of an image. Raises LookupFailed for one that is not there."""
        if name not in self._row_of:
            raise LookupFailed(f"image {name!r} is not in the index")
        return self._table[self._row_of[name]]

    def remove(self, images: Iterable[str]) -> int:
        """Take images out, by name. Returns how many were in it. Files keep them until the next `save`."""
        with self._writing:
            rows = [self._row_of.pop(name) for name in set(images) if name in self._row_of]
            if rows:
                alive = self._state.alive.copy()
                alive[rows] = False
                self._publish(alive, removed=True)
        return len(rows)

    def search(
        self,
        features: npt.NDArray[np.floating],
        *,
        k: int,
        species: Collection[str] | None = None,
        flora: str | None = None,
        organ: str | None = None,
        observations: bool = True,
    ) -> list[Hit]:
        """The k images most similar to features (d,), best first; of each observation the best one alone, unless `observations` is False.

        Among all, or those of these species (taxonIDs), of a flora, of an organ, or of all three at once. Fewer where there are
        fewer. Equals are told in the order they were added. Raises LookupFailed for a flora it has not.
        """
        if k < 1:
            raise InputError(f"{k} images were asked for; at least 1 was expected")
        query = self._query(np.asarray(features)[None])
        state = self._state
        among = self._among(state, species, flora, organ)
        wanted = max(SHORTLIST, 10 * k, math.isqrt(len(among.codes)))
        return self._hits(self._best(state, query, among, k, wanted, EXACT, seen=set() if observations else None))

    def related(
        self, features: npt.NDArray[np.floating], species: Sequence[str], *, k: int = 5, organs: Sequence[str] = ()
    ) -> list[list[Hit]]:
        """For each of these species (taxonIDs) its k observations most similar to the photos of one plant, one image each.

        `features` (v, d) of v photos, and what each shows; none: it is not known. A flower is compared with flowers: images of other
        organs follow only where there are too few. An image is as similar as the most similar of the photos it is compared with.
        """
        if k < 1:
            raise InputError(f"{k} images were asked for; at least 1 was expected")
        query = self._query(np.atleast_2d(features))
        if organs and len(organs) != len(query.views):
            raise InputError(f"{len(query.views)} photos and {len(organs)} organs were given; one each, or none, was expected")
        groups = {organ: np.flatnonzero([o == organ for o in organs]) for organ in dict.fromkeys(organs) if organ}
        state = self._state
        wanted = max(RELATED, 8 * k)
        answer = []
        for name in species:
            rows = self._of_species(state, [name])
            shown = self._table.codes.view()[rows, _ORGAN]
            rest = np.ones(len(rows), bool)
            best: list[tuple[float, int]] = []
            for organ, photos in groups.items():
                same = shown == self._table.code("organ", organ)
                rest &= ~same
                among = _Among(rows=rows[same], codes=state.codes[rows[same]])
                best += self._best(state, query[photos], among, k, wanted, wanted, seen=set())
            seen: set[int] = set()
            best = self._first_of_each(sorted(best, key=lambda hit: (-hit[0], hit[1])), k, seen)
            if len(best) < k and rest.any():
                among = _Among(rows=rows[rest], codes=state.codes[rows[rest]])
                best += self._best(state, query, among, k - len(best), wanted, wanted, seen=seen)
            answer.append(self._hits(best))
        return answer

    def of_species(self, species: str) -> Iterator[IndexedImage]:
        """The images of a species (taxonID), one of each observation, in the order they were added."""
        rows = ((0.0, int(row)) for row in self._of_species(self._state, [species]))
        return (self._table[row] for _, row in self._first_of_each(rows, len(self), set()))

    def _query(self, features: npt.NDArray[np.floating]) -> _Query:
        unit = self._unit(features)
        return _Query(views=unit, codes=self.hashing.codes(unit))

    def _unit(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        if features.ndim != 2 or features.shape[1] != self.hashing.dimensions:
            raise InputError(
                f"features of {features.shape[-1] if features.ndim else 0} dimensions were given, shape {features.shape}; "
                f"the index holds such of {self.hashing.dimensions}. Are they of the same net?"
            )
        return unit_features(features)

    def _publish(self, alive: npt.NDArray[np.bool_], *, removed: bool) -> None:
        before = self._state
        self._state = _State(
            n=len(alive),
            codes=self._codes.view(),
            opened=before.opened,
            added=self._added.view(),
            alive=alive,
            generation=before.generation + removed,
        )
        if removed:
            with self._selecting:
                self._selections.clear()

    def _file_under_species(self, first: int) -> None:
        """Rows from `first` on into the list of their species."""
        species = self._table.codes.view()[first:, _SPECIES]
        order = np.argsort(species, kind="stable")
        codes, starts = np.unique(species[order], return_index=True)
        for code, rows in zip(codes.tolist(), np.split(order + first, starts[1:]), strict=False):
            self._rows_of.setdefault(code, Column(np.empty(0, np.int64))).extend(rows)

    def _among(self, state: _State, species: Collection[str] | None, flora: str | None, organ: str | None) -> _Among:
        if flora is not None and flora not in self.floras:
            raise LookupFailed(f"flora {flora!r} is not in the index, which has {len(self.floras)}.{did_you_mean(flora, self.floras)}")
        shown = None if organ is None else self._table.code("organ", organ)
        if species is not None:
            rows = self._of_species(state, set(species) if flora is None else self.floras[flora].intersection(species))
            if shown is not None:
                rows = rows[self._table.codes.view()[rows, _ORGAN] == shown]
            return _Among(rows=rows, codes=state.codes[rows])
        if flora is None and organ is None and state.alive.all():
            return _Among(rows=None, codes=state.codes, parting=self._parting)
        key = (state.generation, (flora, organ))
        with self._selecting:
            selection = self._selections.setdefault(key, _Selection(self.hashing.bits // 8))
            self._selections.move_to_end(key)
            if len(self._selections) > _KEPT:
                self._selections.popitem(last=False)
        keeps = None if flora is None else np.array([name in self.floras[flora] for name in self._table.words["species"]], bool)
        return selection.at(state, keeps, self._table, shown)

    def _of_species(self, state: _State, species: Iterable[str]) -> Rows:
        lists = [self._rows_of[code].view() for name in species if (code := self._table.code("species", name)) in self._rows_of]
        rows = np.sort(np.concatenate(lists)) if lists else np.empty(0, np.int64)
        rows = rows[: np.searchsorted(rows, state.n)]
        return rows[state.alive[rows]]

    def _best(
        self, state: _State, query: _Query, among: _Among, k: int, wanted: int, enough: int, *, seen: set[int] | None
    ) -> list[tuple[float, int]]:
        """(similarity, row) of the k nearest to any of the photos, out of a shortlist of `wanted`.

        Of each observation not `seen` the best one, which is then seen; None: all images.
        """
        while True:
            short = among.nearest(query.codes, wanted, enough)
            similarity = cosines(query.views, state.features(short)) if len(short) else np.empty(0)
            order = np.lexsort((short, -similarity))
            ranked = list(zip(similarity[order].tolist(), short[order].tolist(), strict=True))
            found = None if seen is None else set(seen)
            best = ranked[:k] if found is None else self._first_of_each(ranked, k, found)
            if len(best) == k or len(short) == len(among.codes):
                if seen is not None and found is not None:
                    seen |= found
                return best
            wanted *= 4  # many images of few observations: look further

    def _first_of_each(self, ranked: Iterable[tuple[float, int]], k: int, seen: set[int]) -> list[tuple[float, int]]:
        """The first k of observations not seen yet; they are then."""
        best: list[tuple[float, int]] = []
        observation = self._table.codes.view()[:, _OBSERVATION]
        alone = self._table.code("observation", "")
        for hit in ranked:
            of = int(observation[hit[1]])
            if of != alone and of in seen:
                continue
            seen.add(of)
            best.append(hit)
            if len(best) == k:
                break
        return best

    def _hits(self, ranked: Iterable[tuple[float, int]]) -> list[Hit]:
        return [Hit(image=self._table[row], similarity=similarity) for similarity, row in ranked]


def named(card: Card) -> str:
    """Name and version of a net: what an index's features belong to."""
    return f"{card.name} {card.version}"
