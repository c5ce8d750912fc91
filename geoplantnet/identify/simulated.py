"""Simulated observers of a virtual world: who photographs what, where and when, what they call it, and who votes on whose photos.

Nobody knows the true species of a million photos; of a virtual world everything is known, so that what votes, filters and maps make of people's
opinions can be measured. Experts are few, know most species and look at others' photos; amateurs are many, know the showy and the common ones, and ask the
app; spammers name at random. All of them go where roads go, and photograph what is beautiful, edible or tall rather than what grows there most.

A simulation, not a model of a real community: its parameters are round numbers. Equal arguments give equal tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from geoplantnet.errors import NoDataError, UsageError
from geoplantnet.sources.virtual import VirtualLandCover, VirtualSpecies
from geoplantnet.sources.virtual.landscape import Bounds
from geoplantnet.sources.virtual.sampling import accessible, degrees, displaced, inside, on_land
from geoplantnet.taxonomy import SpeciesList

ROLES = ("expert", "amateur", "spammer")
EXPERT, AMATEUR, SPAMMER = range(3)
KINDS = ("wild", "cultivated", "several species", "not a plant")
WILD, CULTIVATED, SEVERAL, NO_PLANT = range(4)
MODEL = ("virtual-identifier", "1")
"""Name and version of the simulated model."""
DATASET = "virtual-observers"
LICENSE = "https://creativecommons.org/publicdomain/zero/1.0/"
YEARS = (2015, 2024)
KNOWN = {EXPERT: 0.85, AMATEUR: 0.30, SPAMMER: 0.0}
"""Mean share of the species that they know; amateurs know what draws the camera first."""
RIGHT = {EXPERT: 0.97, AMATEUR: 0.88, SPAMMER: 0.0}
"""How often a known species is named rightly; the rest is taken for a relative."""
OBSERVE, REVIEW = 0.15, 0.5
"""Experts' shares of the observations, and of the looks at others'."""
FOLLOWS = 0.7
"""How often an amateur who does not know a species takes the name that the model proposes, rather than guessing."""
GUESS = 0.25
"""How often a guess is right."""
PARROT = 0.25
"""How often an amateur who does not know a species votes for the name that its author gave, rather than not at all."""
TWIN = 0.6
"""How often a wrong name is that of the one look-alike of a specimen, by which people and the model err alike."""
CONGENER, SAME_FAMILY = 0.6, 0.3
"""Shares of look-alikes in the genus, and in another genus of the family; the rest are of any other species."""
TELLS = {SEVERAL: (0.8, 0.4, 0.02), NO_PLANT: (0.95, 0.8, 0.05), CULTIVATED: (0.7, 0.3, 0.02)}
"""How often expert, amateur and spammer say of somebody else's photo what is wrong with it."""
FALSE_ALARM = 0.004
"""How often they say so where it is not."""
ADMITS = (0.9, 0.4, 0.0)
"""How often an author says that the plant was planted."""
_STRAY = 250.0
"""Standard deviation of a photo's place around that of its outing, metres, by axis."""
_CHUNK = 4_000_000
_ROUNDS = 200

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """How many people there are, and how they go about it. Raises UsageError for what is no number of people, share or strength."""

    experts: int = 12
    amateurs: int = 180
    spammers: int = 8
    """Accounts that name at random, or all alike."""
    looks: float = 1.5
    """People who look at an observation of somebody else's, on average; most observations get none or few."""
    appeal: float = 1.0
    """How strongly beauty, food and size draw the camera; 0 = plants are photographed as they are met."""
    roads: float = 1.0
    """How strongly roads, paths and villages bound where people go; 0 = everywhere alike around their homes."""
    cultivated: float = 0.3
    """Share of photos in the middle of a village that show a planted individual."""
    several_species: float = 0.04
    """Share of photos that show several species."""
    not_a_plant: float = 0.02
    """Share of photos that show none; of spammers' twenty times as many, at most half."""

    def __post_init__(self) -> None:
        if min(self.experts, self.amateurs, self.spammers) < 0 or self.size < 1:
            raise UsageError(
                f"a crowd of {self.experts} experts, {self.amateurs} amateurs, {self.spammers} spammers observes nothing; add people"
            )
        for name in ("cultivated", "several_species", "not_a_plant"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")
        for name in ("looks", "appeal", "roads"):
            if not 0 <= getattr(self, name) < np.inf:
                raise UsageError(f"{name} is a number from 0 on, got {getattr(self, name)}")

    @property
    def size(self) -> int:
        """People."""
        return self.experts + self.amateurs + self.spammers


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulatedObservations:
    """What simulated observers leave: tables as `observations.ObservationStore` takes them in bulk, and the truth beside them."""

    species: SpeciesList
    """The species axis; taxa of checklist "virtual"."""
    users: pd.DataFrame
    """user_id, name, role (`ROLES`), accuracy (share of known species named rightly), known (number of species)."""
    observations: pd.DataFrame
    """In the order of days: observation_id, user_id, latitude, longitude (degrees, WGS 84), coordinate_uncertainty (metres, NaN = not told),
    event_date (ISO 8601 day), dataset_id, flora, license, rights_holder, verbatim_name."""
    votes: pd.DataFrame
    """In the order of time: observation_id, user_id, kind (determination, malformed, not_a_plant, cultivated), value (taxon id, or "1"), at (ISO 8601,
    UTC), key."""
    predictions: pd.DataFrame
    """observation_id, taxon_id, score: the model's, one an observation; of photos of plants it is right as often as its score says."""
    truth: pd.DataFrame
    """A row an observation, in their order: observation_id, taxonID (empty where no plant is shown), kind (`KINDS`), x, y (EPSG:3035, metres, before
    the uncertainty)."""


@dataclass(frozen=True, eq=False)
class _People:
    """Arrays (user,), homes (user, 2), matrices (user, species)."""

    role: Integers
    activity: Floats
    home: Floats
    roams: Floats
    """Metres after which visits are fewer by a factor e."""
    explores: Floats
    """Exponent on what roads make accessible; less than others' for experts."""
    taste: Floats
    accuracy: Floats
    knows: Mask
    always: Integers
    """The species that a spammer names every time; -1 = any."""


@dataclass(frozen=True, eq=False)
class _Photos:
    """Arrays (observation,)."""

    user: Integers
    species: Integers
    """-1 = no plant."""
    kind: Integers
    x: Floats
    y: Floats
    day: npt.NDArray[np.datetime64]

    def taken(self, rows: Integers | Mask) -> _Photos:
        return _Photos(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def simulate_observers(
    world: VirtualSpecies, n: int, *, seed: int, within: Bounds | None = None, crowd: Crowd | None = None
) -> SimulatedObservations:
    """`n` observations of a virtual world by a crowd, with votes and a model's predictions.

    On an outing people photograph some plants near one place of a day: species are met in proportion to their true probability there, and taken by
    appeal, favourite groups and season. `within` (EPSG:3035, metres) defaults to the landscape's bounds. Raises UsageError for n < 1, NoDataError when
    nothing grows within reach.
    """
    bounds, crowd = inside(world, n, within), crowd or Crowd()
    # A stream each, so that with other looks the same photos are looked at.
    streams = [np.random.default_rng([world.seed, seed, 8, part]) for part in range(4)]
    place, reach, homes = accessible(world, bounds)
    people = _people(world, crowd, homes, streams[0])
    photos = _photos(world, crowd, people, place, reach.astype(np.float64), bounds, n, streams[1])
    kin = _Kin.of(world.species_list)
    twin = kin.relative(np.maximum(photos.species, 0), streams[2])
    proposed, score = _predictions(photos, twin, kin, streams[2])
    return _told(world, people, photos, proposed, score, _votes(crowd, people, photos, twin, proposed, kin, streams[3]), bounds, streams[3])


def appeal(world: VirtualSpecies) -> pd.DataFrame:
    """What draws the camera to a species, index taxonID: beauty, food, size, each a factor around 1 on how often it is photographed where met."""
    rng = np.random.default_rng([world.seed, world.n, 8])
    traits = world.traits
    factors = {
        "beauty": np.exp(0.7 * rng.standard_normal(world.n)),
        "food": np.where(rng.random(world.n) < 0.12, 2.5, 1.0),
        "size": np.where(traits["tree"] == 1, 2.0, np.where(traits["woody"] == 1, 1.4, 1.0)),
    }
    return pd.DataFrame(factors, index=pd.Index([t.taxon_id for t in world.species_list], name="taxonID"))


def _people(world: VirtualSpecies, crowd: Crowd, homes: Floats, rng: np.random.Generator) -> _People:
    users = crowd.size
    role = np.repeat([EXPERT, AMATEUR, SPAMMER], [crowd.experts, crowd.amateurs, crowd.spammers])
    expert, spammer = role == EXPERT, role == SPAMMER
    # Few report most: the activity falls as 1 / rank.
    activity = 1 / (1 + rng.permutation(users))
    factors = appeal(world)
    drawn = factors.prod(axis=1).to_numpy() ** crowd.appeal
    group = np.unique(world.groups, return_inverse=True)[1]
    favourites = np.exp(0.6 * rng.standard_normal((users, group.max() + 1)))[:, group]
    rare = np.where(expert[:, None], world.prevalence[None] ** -0.3, 1.0)
    taste = np.where(expert[:, None], np.sqrt(drawn), drawn) * favourites * rare
    accuracy = np.clip(np.array([RIGHT[r] for r in role]) + 0.03 * rng.standard_normal(users), 0, 0.995)
    familiar = np.argsort(
        np.argsort(-(np.log(drawn) + np.log(world.prevalence) + 1.2 * rng.standard_normal((users, world.n))), axis=1), axis=1
    )
    share = np.array([KNOWN[r] for r in role])
    known = np.where(spammer, 0, rng.beta(np.maximum(4 * share, 1e-9), 4 * (1 - share)) * world.n)
    return _People(
        role=role,
        activity=_shared(np.where(spammer, np.median(activity), activity), expert, OBSERVE),
        home=homes[rng.integers(len(homes), size=users)],
        roams=np.where(expert, 2.0, 1.0) * rng.uniform(3_000, 10_000, users),
        explores=np.where(expert, 0.5, 1.0) * crowd.roads,
        taste=taste / taste.mean(axis=1, keepdims=True),
        accuracy=np.where(spammer, 0.0, accuracy),
        knows=familiar < known[:, None],
        always=np.where(spammer & (rng.random(users) < 0.5), rng.integers(world.n, size=users), -1),
    )


def _shared(activity: Floats, expert: Mask, share: float) -> Floats:
    """Activity (user,) of which experts have a share, where there are experts and others; sums to 1."""
    weight = activity.copy()
    if expert.any() and not expert.all():
        weight[expert] *= share / (1 - share) * weight[~expert].sum() / weight[expert].sum()
    return weight / weight.sum()


def _photos(
    world: VirtualSpecies, crowd: Crowd, people: _People, place: Floats, reach: Floats, bounds: Bounds, n: int, rng: np.random.Generator
) -> _Photos:
    """`n` photos in the order of days; of one person's in that of where they were taken."""
    found: list[_Photos] = []
    missing = n
    for _ in range(_ROUNDS):
        if missing <= 0:
            break
        found.append(_outings(world, crowd, people, place, reach, bounds, missing // 2 + 20, rng))
        missing -= len(found[-1].user)
    if missing > 0:
        raise NoDataError(f"no virtual species grows within observers' reach in {bounds}; observe a larger or greener region")
    photos = _Photos(*(np.concatenate([getattr(part, name) for part in found]) for name in _Photos.__dataclass_fields__))
    photos = photos.taken(np.sort(rng.permutation(len(photos.user))[:n]))
    return photos.taken(np.lexsort((photos.user, photos.day)))


def _outings(
    world: VirtualSpecies,
    crowd: Crowd,
    people: _People,
    place: Floats,
    reach: Floats,
    bounds: Bounds,
    outings: int,
    rng: np.random.Generator,
) -> _Photos:
    """The photos of some outings; where little grows an outing often ends without one."""
    walker = rng.choice(len(people.role), outings, p=people.activity)
    start = np.empty(outings, np.int64)
    for user in np.unique(walker):
        away = np.hypot(*(place - people.home[user]).T)
        visits = np.cumsum(reach ** people.explores[user] * np.exp(-away / people.roams[user]))
        own = np.flatnonzero(walker == user)
        start[own] = np.searchsorted(visits, rng.random(own.size) * visits[-1], side="right").clip(max=len(place) - 1)
    year = YEARS[0] + np.floor((YEARS[1] + 1 - YEARS[0]) * np.sqrt(rng.random(outings))).astype(int)
    day_of_year = np.rint(np.clip(180 + 50 * rng.standard_normal(outings), 15, 350)).astype(int)
    day = (year - 1970).astype("datetime64[Y]").astype("datetime64[D]") + (day_of_year - 1).astype("timedelta64[D]")
    of = np.repeat(np.arange(outings), rng.geometric(0.3, outings))
    user, x, y = walker[of], *_around(world, place[start[of]], bounds, rng)
    species, kind = np.full(of.size, -1), np.full(of.size, WILD)
    village = VirtualLandCover(world.landscape)
    settled = village.at(pd.DataFrame({"x": x, "y": y}))[:, village.bands.index("village")]
    kind[rng.random(of.size) < crowd.several_species] = SEVERAL
    kind[rng.random(of.size) < crowd.cultivated * settled] = CULTIVATED
    none = np.where(people.role[user] == SPAMMER, np.maximum(crowd.not_a_plant, min(20 * crowd.not_a_plant, 0.5)), crowd.not_a_plant)
    kind[rng.random(of.size) < none] = NO_PLANT
    growing = np.flatnonzero((kind == WILD) | (kind == SEVERAL))
    month = day.astype("datetime64[M]").astype(int) % 12
    species[growing] = _met(world, people.taste[user[growing]], x[growing], y[growing], month[of[growing]], rng)
    planted = np.flatnonzero(kind == CULTIVATED)
    wanted = appeal(world).prod(axis=1).to_numpy() ** 1.5
    species[planted] = rng.choice(world.n, planted.size, p=wanted / wanted.sum())
    return _Photos(user, species, kind, x, y, day[of]).taken((species >= 0) | (kind == NO_PLANT))


def _around(world: VirtualSpecies, centre: Floats, bounds: Bounds, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Places near cell centres (n, 2): some steps away, or in the cell itself where that would be in water or outside."""
    west, south, east, north = bounds
    near = centre + _STRAY * rng.standard_normal(centre.shape)
    cell = centre + rng.uniform(-24.9, 24.9, centre.shape)
    fine = (near[:, 0] >= west) & (near[:, 0] < east) & (near[:, 1] >= south) & (near[:, 1] < north)
    fine[fine] = on_land(world, *near[fine].T)
    spot = np.where(fine[:, None], near, cell).clip((west, south), (np.nextafter(east, west), np.nextafter(north, south)))
    return spot[:, 0], spot[:, 1]


def _met(world: VirtualSpecies, taste: Floats, x: Floats, y: Floats, month: Integers, rng: np.random.Generator) -> Integers:
    """A species (n,) photographed at each place in a month (0 = January), -1 where none."""
    noticed, roll, species = 12 * world.phenology.T, rng.random(len(x)), np.full(len(x), -1)
    for part in _parts(len(x), world.n):
        met = np.cumsum(world.true_probability(x=x[part], y=y[part]) * taste[part] * noticed[month[part]], axis=1, dtype=np.float64)
        draw = roll[part] * np.maximum(met[:, -1], 0.3)
        species[part] = np.where(draw < met[:, -1], (met <= draw[:, None]).sum(axis=1), -1)
    return species


def _parts(n: int, width: int) -> Iterator[slice]:
    """Rows worked at a time, so that a matrix of `width` columns stays small."""
    step = max(1, _CHUNK // width)
    return (slice(first, first + step) for first in range(0, n, step))


@dataclass(frozen=True, eq=False)
class _Kin:
    """Who is related to whom: genus and family (species,) by number."""

    genus: Integers
    family: Integers

    @classmethod
    def of(cls, species: SpeciesList) -> _Kin:
        return cls(*(pd.factorize(pd.Series([getattr(t, rank) for t in species]))[0].astype(np.int64) for rank in ("genus", "family")))

    def relative(self, species: Integers, rng: np.random.Generator) -> Integers:
        """Another species (n,) for each of some: of the genus, else of the family, else any. The same where the world has no other."""
        other, roll, everyone = species.copy(), rng.random(species.size), np.arange(self.genus.size)
        for k in np.unique(species):
            own, others = np.flatnonzero(species == k), np.flatnonzero(everyone != k)
            genus, family = self.genus[others] == self.genus[k], self.family[others] == self.family[k]
            for low, high, kin in (
                (0.0, CONGENER, genus),
                (CONGENER, CONGENER + SAME_FAMILY, family & ~genus),
                (CONGENER + SAME_FAMILY, 1.0, np.ones(others.size, bool)),
            ):
                taken = own[(roll[own] >= low) & (roll[own] < high)]
                if others.size:
                    other[taken] = rng.choice(others[kin] if kin.any() else others, taken.size)
        return other


def _predictions(photos: _Photos, twin: Integers, kin: _Kin, rng: np.random.Generator) -> tuple[Integers, Floats]:
    """What the model names (observation,), and its score: right as often as that says; low, and wrong, where there is no plant."""
    n, plant = photos.user.size, photos.kind != NO_PLANT
    score = np.where(plant, rng.beta(1.6, 0.7, n), rng.beta(1, 8, n))
    wrong = _wrong(photos.species, twin, kin, rng)
    return np.where(plant & (rng.random(n) < score), photos.species, wrong), np.round(score, 6).astype(np.float64)


def _wrong(species: Integers, twin: Integers, kin: _Kin, rng: np.random.Generator) -> Integers:
    """A wrong name for each specimen: mostly its look-alike's, which is the same for everybody; where there is no plant, any."""
    other = np.where(rng.random(species.size) < TWIN, twin, kin.relative(np.maximum(species, 0), rng))
    return np.where(species < 0, rng.integers(kin.genus.size, size=species.size), other)


def _votes(
    crowd: Crowd, people: _People, photos: _Photos, twin: Integers, proposed: Integers, kin: _Kin, rng: np.random.Generator
) -> pd.DataFrame:
    """Votes by position: observation, user, kind, species (-1 for other kinds), days (after the photo was taken)."""
    n = photos.user.size
    own = np.arange(n)
    authors = _determined(people, photos, own, photos.user, twin, proposed, None, kin, rng)
    found = [_rows(own, photos.user, "determination", authors, np.full(n, 0.0))]
    admits = (photos.kind == CULTIVATED) & (rng.random(n) < np.array(ADMITS)[people.role[photos.user]])
    found.append(_rows(own[admits], photos.user[admits], "cultivated", None, np.full(int(admits.sum()), 0.0)))
    seen, viewer = _looks(crowd, people, photos, rng)
    later = 0.05 + rng.exponential(12, seen.size)
    told = {}
    for kind, name in ((SEVERAL, "malformed"), (NO_PLANT, "not_a_plant"), (CULTIVATED, "cultivated")):
        chance = np.where(photos.kind[seen] == kind, np.array(TELLS[kind])[people.role[viewer]], FALSE_ALARM)
        told[kind] = rng.random(seen.size) < chance
        found.append(_rows(seen[told[kind]], viewer[told[kind]], name, None, later[told[kind]]))
    species = _determined(people, photos, seen, viewer, twin, proposed, authors, kin, rng)
    species[told[NO_PLANT]] = -1
    found.append(_rows(seen, viewer, "determination", species, later))
    votes = pd.concat(found, ignore_index=True)
    return votes[(votes["kind"] != "determination") | (votes["species"] >= 0)]


def _rows(observation: Integers, user: Integers, kind: str, species: Integers | None, days: Floats) -> pd.DataFrame:
    return pd.DataFrame(
        {"observation": observation, "user": user, "kind": kind, "species": -1 if species is None else species, "days": days}
    )


def _looks(crowd: Crowd, people: _People, photos: _Photos, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Who looks at whose photo: observations and users, none at an own one and none twice."""
    n = photos.user.size
    times = rng.poisson(crowd.looks * rng.gamma(0.5, 2.0, n))
    weight = _shared(people.activity, people.role == EXPERT, REVIEW)
    seen = np.repeat(np.arange(n), times)
    viewer = rng.choice(weight.size, seen.size, p=weight)
    pair = np.unique(np.stack([seen, viewer], axis=1)[viewer != photos.user[seen]], axis=0)
    return pair[:, 0], pair[:, 1]


def _determined(
    people: _People,
    photos: _Photos,
    observation: Integers,
    user: Integers,
    twin: Integers,
    proposed: Integers,
    authors: Integers | None,
    kin: _Kin,
    rng: np.random.Generator,
) -> Integers:
    """What users name the specimens of observations, (vote,); -1 = they do not say.

    Of their own (`authors` None) they name all, if need be as the model does or by a guess; of others' what they know, and sometimes what its author said.
    """
    true, role, n = photos.species[observation], people.role[user], observation.size
    wrong = _wrong(true, twin[observation], kin, rng)
    knows = (true >= 0) & people.knows[user, np.maximum(true, 0)]
    named = np.where(knows & (rng.random(n) < people.accuracy[user]), true, wrong)
    if authors is None:
        guess = np.where((true >= 0) & (rng.random(n) < GUESS), true, wrong)
        unknown = np.where(rng.random(n) < FOLLOWS, proposed[observation], guess)
    else:
        unknown = np.where((role == AMATEUR) & (rng.random(n) < PARROT), authors[observation], -1)
    named = np.where(knows, named, unknown)
    spam = np.where(people.always[user] >= 0, people.always[user], rng.integers(kin.genus.size, size=n))
    return np.where(role == SPAMMER, spam, named)


def _told(
    world: VirtualSpecies,
    people: _People,
    photos: _Photos,
    proposed: Integers,
    score: Floats,
    votes: pd.DataFrame,
    bounds: Bounds,
    rng: np.random.Generator,
) -> SimulatedObservations:
    """The tables."""
    n, species = photos.user.size, world.species_list
    taxa, names = np.array([t.taxon_id for t in species], object), np.array([t.scientific_name for t in species], object)
    users = np.array([f"virtual-user-{i + 1:05d}" for i in range(people.role.size)], object)
    ids = np.array([f"virtual-observation-{i + 1:07d}" for i in range(n)], object)
    radius = rng.choice([5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1_000.0], n, p=[0.3, 0.25, 0.15, 0.12, 0.08, 0.06, 0.04])
    longitude, latitude = degrees(*displaced(photos.x, photos.y, radius, bounds, rng))
    author = (
        votes[(votes["days"] == 0) & (votes["kind"] == "determination")].set_index("observation")["species"].reindex(range(n)).to_numpy(int)
    )
    observations = pd.DataFrame(
        {
            "observation_id": ids,
            "user_id": users[photos.user],
            "latitude": latitude,
            "longitude": longitude,
            "coordinate_uncertainty": np.where(rng.random(n) < 0.05, np.nan, radius),
            "event_date": np.datetime_as_string(photos.day, unit="D").astype(object),
            "dataset_id": DATASET,
            "flora": "",
            "license": LICENSE,
            "rights_holder": "",
            "verbatim_name": names[author],
        }
    )
    day = photos.day[votes["observation"]].astype("datetime64[s]")
    at = day + np.rint((votes["days"].to_numpy() + 0.5) * 86_400).astype("timedelta64[s]")
    table = pd.DataFrame(
        {
            "observation_id": ids[votes["observation"]],
            "user_id": users[votes["user"]],
            "kind": votes["kind"].to_numpy(object),
            "value": np.where(votes["kind"] == "determination", taxa[votes["species"]], "1"),
            "at": np.char.add(np.datetime_as_string(at, unit="s"), "Z").astype(object),
        }
    )
    table = table.sort_values(["at", "observation_id", "user_id", "kind"], ignore_index=True)
    truth = pd.DataFrame(
        {
            "observation_id": ids,
            "taxonID": np.where(photos.species >= 0, taxa[photos.species], ""),
            "kind": np.array(KINDS, object)[photos.kind],
            "x": photos.x,
            "y": photos.y,
        }
    )
    return SimulatedObservations(
        species=species,
        users=pd.DataFrame(
            {
                "user_id": users,
                "name": [f"Virtual {ROLES[r]} {i + 1}" for i, r in enumerate(people.role)],
                "role": np.array(ROLES, object)[people.role],
                "accuracy": people.accuracy,
                "known": people.knows.sum(axis=1),
            }
        ),
        observations=observations,
        votes=table.assign(key=[f"virtual-vote-{i + 1:08d}" for i in range(len(table))]),
        predictions=pd.DataFrame({"observation_id": ids, "taxon_id": taxa[proposed], "score": score}),
        truth=truth,
    )
