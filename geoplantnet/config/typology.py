"""configs/habitats/NAME.yaml -> a typology of habitats: its classes, and which of them a plot is."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from geoplantnet.config.load import checked, named_file, read_yaml, recipe_folders
from geoplantnet.config.recipe import Section
from geoplantnet.indicators import Habitat
from geoplantnet.occurrences.habitats import DominanceRule

Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-f]{6}$")]


class HabitatClass(Section):
    """A habitat, and either the plants that make it or the land cover it stands for."""

    code: str = Field(min_length=1)
    title: str = Field(min_length=1)
    title_fr: str = Field(min_length=1)
    color: Color
    dominant: tuple[str, ...] = ()
    """Scientific names: the plot is this habitat where they have most of the cover."""
    more_of: tuple[str, ...] = ()
    """Scientific names that outnumber those of `than`, where another class has the same dominants."""
    than: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    """Bands of the typology's `modality`: the plot is this habitat where they cover most of its cell."""

    @model_validator(mode="after")
    def _one_rule(self) -> HabitatClass:
        if bool(self.dominant) == bool(self.bands):
            raise ValueError(f"habitat {self.code} needs either `dominant` species or `bands` of land cover")
        if bool(self.more_of) != bool(self.than):
            raise ValueError(f"habitat {self.code}: `more_of` and `than` go together")
        return self


class Typology(Section):
    """Habitats a plot may be, first come first served."""

    title: str = Field(min_length=1)
    title_fr: str = Field(min_length=1)
    modality: str | None = None
    """Where `bands` are of: a modality that the model learns from, of shares of the cell."""
    habitats: tuple[HabitatClass, ...] = Field(min_length=2, max_length=254)

    @model_validator(mode="after")
    def _one_kind(self) -> Typology:
        codes = [h.code for h in self.habitats]
        if len(set(codes)) != len(codes):
            raise ValueError(f"habitats: {sorted({c for c in codes if codes.count(c) > 1})} stand twice")
        if len({bool(h.bands) for h in self.habitats}) > 1 or bool(self.habitats[0].bands) != bool(self.modality):
            raise ValueError("all habitats name `bands` and the typology their `modality`, or all name `dominant` species")
        return self

    @property
    def told_by(self) -> list[object]:
        """What decides which habitat a plot is: all but titles and colours, which no model learns from."""
        return [self.modality, [[h.code, h.dominant, h.more_of, h.than, h.bands] for h in self.habitats]]

    @property
    def rules(self) -> tuple[DominanceRule, ...]:
        """The rules by dominant species, in order."""
        return tuple(DominanceRule(code=h.code, dominant=h.dominant, more_of=h.more_of, than=h.than) for h in self.habitats)

    def chosen(self, codes: tuple[str, ...]) -> tuple[Habitat, ...]:
        """Some habitats as an indicator takes them, in the typology's order; each keeps its value, whichever others there are."""
        return tuple(
            Habitat(code=h.code, value=value, title=h.title, title_fr=h.title_fr, color=h.color)
            for value, h in enumerate(self.habitats, 1)
            if h.code in codes
        )


def load_typology(name: str | os.PathLike[str]) -> Typology:
    """Read configs/habitats/NAME.yaml, or the file NAME. Raises ConfigurationError naming file, key, what is allowed."""
    file = named_file(name, [folder / "habitats" for folder in recipe_folders()], what="typology")
    return checked(Typology, read_yaml(file), file)
