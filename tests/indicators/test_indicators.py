"""Indicators: laws, brute force, independence of order and blocks, no data, torch."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax

from geoplantnet.assemblages.sets import above, max_expected_f1
from geoplantnet.errors import ConfigurationError, InputError
from geoplantnet.indicators import INDICATORS, Habitat, affinity_column, compute, habitat_of, indicator
from geoplantnet.indicators.conservation import IUCN_CLASSES

WORST_FIRST = ("EX", "EW", "CR", "EN", "VU", "NT", "LC", "DD", "NE")
FLAGS = ("tree", "woody", "invasive", "eu_directive", "rare")
GROUPS = {"tree_richness": "tree", "invasives": "invasive", "eu_directive": "eu_directive", "rare": "rare"}

communities = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(1, 4)),
    elements=st.floats(0, 1, width=32, allow_subnormal=False),
)
relaxed = settings(deadline=None, max_examples=50)


def traits_of(n, seed=0):
    """Flags, categories and numbers, some of them unknown."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame({flag: random.choice([0.0, 1.0, np.nan], n) for flag in FLAGS})
    table["range_squares"] = random.choice([1.0, 2.0, 17.0, 400.0, np.nan], n)
    table["specialisation"] = np.where(random.random(n) < 0.8, random.random(n), np.nan)
    table["iucn"] = random.choice(np.array([*WORST_FIRST, None, None, None, None], object), n)
    return table


def in_blocks(p, size=5):
    return lambda: ((slice(s, min(s + size, len(p))), p[s : s + size]) for s in range(0, len(p), size))


def all_of(p, traits, size=5, **options):
    return compute(list(INDICATORS), in_blocks(p, size), traits, p.shape[1:], **options)


def entropy(p):
    """Shannon's index of one community, (n,) -> nats, from its definition."""
    q = p.astype(float) / p.astype(float).sum() if p.sum() > 0 else np.zeros(len(p))
    return -math.fsum(v * math.log(v) for v in q if v > 0)


def close(found, expected, rtol=2e-6, atol=2e-7):
    np.testing.assert_allclose(found, np.asarray(expected), rtol=rtol, atol=atol)


@given(communities, st.integers(0, 99))
@relaxed
def test_diversity_is_its_definition(p, seed):
    """Richness, its standard deviation and Shannon's index equal their definitions in float64, cell by cell."""
    found = all_of(p, traits_of(len(p), seed))
    close(found.richness, p.sum(axis=0, dtype=float))
    close(found.richness_sd, np.sqrt((p.astype(float) * (1 - p.astype(float))).sum(axis=0)), atol=2e-4)
    close(found.shannon, np.apply_along_axis(entropy, 0, p), atol=2e-6 * (1 + len(p)))


@given(communities)
@relaxed
def test_shannon_deviation_is_its_gradient_times_the_deviation_of_presences(p):
    """The delta method with the gradient taken numerically, in float64: sqrt(sum of p (1 - p) (dH/dp)^2)."""
    p = np.maximum(p, np.float32(0.01))  # the gradient at p = 0 is infinite, its product with the variance is not
    found = all_of(p, traits_of(len(p))).shannon_sd.to_numpy()
    for row, column in np.ndindex(p.shape[1:]):
        here, step = p[:, row, column].astype(float), 1e-6
        slope = [(entropy(here + step * one) - entropy(here - step * one)) / (2 * step) for one in np.eye(len(here))]
        close(found[row, column], math.sqrt(math.fsum(here * (1 - here) * np.square(slope))), rtol=2e-3, atol=8e-3)


@given(communities)
@relaxed
def test_shannon_is_bounded_by_the_number_of_species(p):
    """0 <= H <= ln of the number of species that can be present, reached when they are equally likely."""
    shannon = all_of(p, traits_of(len(p))).shannon.to_numpy()
    possible = np.maximum((p > 0).sum(axis=0), 1)
    assert (shannon >= 0).all() and (shannon <= np.log(possible) + 2e-5).all()
    even = np.where(p > 0, np.float32(0.25), 0)
    close(all_of(even, traits_of(len(p))).shannon, np.log(possible), atol=1e-6)


def test_shannon_of_certain_species_is_at_most_ln_richness():
    """With presences certain, richness is a count and H = ln of it; an uneven community stays below."""
    p = np.ones((7, 1, 2), np.float32)
    p[3:, 0, 1] = 0
    found = all_of(p, traits_of(7))
    close(found.shannon, np.log(found.richness), atol=1e-6)


@given(communities, st.integers(0, 99))
@relaxed
def test_group_richness_is_its_definition(p, seed):
    """Sums of p over the species flagged 1, with standard deviation; the unknown are a share of richness, never zeros."""
    traits = traits_of(len(p), seed)
    found = all_of(p, traits)
    exact = p.astype(float)
    for name, flag in GROUPS.items():
        group, unknown = (traits[flag] == 1).to_numpy(), traits[flag].isna().to_numpy()
        close(found[name], exact[group].sum(axis=0))
        close(found[f"{name}_sd"], np.sqrt((exact * (1 - exact))[group].sum(axis=0)), atol=2e-4)
        with np.errstate(invalid="ignore"):
            close(found[f"{name}_unknown"], exact[unknown].sum(axis=0) / exact.sum(axis=0), atol=1e-6)
    assert (found.tree_richness <= found.richness * (1 + 1e-6)).all()


@given(communities, st.integers(0, 99))
@relaxed
def test_woody_share_is_its_definition(p, seed):
    """A ratio over species whose growth form is known; its deviation is the delta method's, at most sqrt(r (1 - r))."""
    traits = traits_of(len(p), seed)
    found = all_of(p, traits)
    exact = p.astype(float)
    w, known = (traits["woody"] == 1).to_numpy(), traits["woody"].notna().to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        share = exact[w].sum(axis=0) / exact[known].sum(axis=0)
        deviation = np.sqrt((exact * (1 - exact) * (w[:, None, None] - share) ** 2)[known].sum(axis=0)) / exact[known].sum(axis=0)
    close(found.woody_share, share, atol=1e-6)
    close(found.woody_share_sd, np.minimum(deviation, np.sqrt(share * (1 - share))), rtol=1e-3, atol=2e-4)


def test_woody_deviation_is_that_of_drawn_communities():
    """The delta method agrees with the spread of the share over drawn presences (300 species, 4,000 draws)."""
    random = np.random.default_rng(2)
    p = random.beta(1, 4, 300).astype(np.float32)
    traits = traits_of(300).assign(woody=random.choice([0.0, 1.0], 300))
    drawn = random.random((4000, 300)) < p
    shares = drawn[:, traits["woody"] == 1].sum(axis=1) / drawn.sum(axis=1)
    found = compute(["woody_share"], in_blocks(p[:, None, None], 64), traits, (1, 1))
    assert found.woody_share.item() == pytest.approx(shares.mean(), abs=0.005)
    assert found.woody_share_sd.item() == pytest.approx(shares.std(), rel=0.06)


@given(communities, st.integers(0, 99))
@relaxed
def test_threatened_is_between_the_largest_p_and_their_sum(p, seed):
    """1 - product of (1 - p) over CR, EN, VU: max p <= it <= sum p, and exact in relative terms however small p is."""
    traits = traits_of(len(p), seed)
    listed = p[traits["iucn"].isin(["CR", "EN", "VU"]).to_numpy()].astype(float)
    found = all_of(p, traits).threatened.to_numpy()
    close(found, -np.expm1(np.log1p(-np.minimum(listed, 1 - 1e-16)).sum(axis=0)))
    assert (found >= listed.max(axis=0, initial=0) * (1 - 1e-6)).all()
    assert (found <= listed.sum(axis=0) * (1 + 1e-6)).all()
    tiny = compute(["threatened"], in_blocks(np.full((1, 1, 1), 1e-12, np.float32)), pd.DataFrame({"iucn": ["VU"]}), (1, 1))
    assert tiny.threatened.item() == pytest.approx(1e-12, rel=1e-6)


def worst_by_hand(member, categories):
    """The class letters of one cell: members (n,), categories (n,) with None where unknown."""
    present = [c for c, inside in zip(categories, member) if inside]
    known = [c for c in WORST_FIRST if c in present]
    return known[0] if known else "unknown" if present else "none"


@given(communities, st.integers(0, 99), st.floats(0, 1, width=32))
@relaxed
def test_iucn_worst_is_the_worst_of_the_set(p, seed, threshold):
    """Brute force over the set: known categories by rank, `unknown` when none is known, `none` when the set is empty."""
    traits = traits_of(len(p), seed)
    letters = {c.value: c.letters for c in IUCN_CLASSES}
    for options, member in (({"threshold": threshold}, above(p, threshold)), ({}, max_expected_f1(p))):
        found = all_of(p, traits, **options)
        for row, column in np.ndindex(p.shape[1:]):
            inside = member[:, row, column]
            assert letters[int(found.iucn_worst[row, column])] == worst_by_hand(inside, traits["iucn"])
            missing = found.iucn_worst_unknown.to_numpy()[row, column]
            assert np.isnan(missing) if not inside.any() else missing == pytest.approx(traits["iucn"].isna().to_numpy()[inside].mean())


def test_the_probability_of_the_worst_category_is_that_of_all_communities():
    """Every set of presences of nine species, weighed by its probability: how often the mapped category is the worst one there."""
    random = np.random.default_rng(12)
    categories = ["CR", "EN", "EN", "VU", "NT", "NT", "LC", "DD", None]
    traits = traits_of(9).assign(iucn=categories)
    p = random.random((9, 1, 40)).astype(np.float32) ** 2
    found = compute(["iucn_worst"], in_blocks(p), traits, (1, 40))
    letters = {c.value: c.letters for c in IUCN_CLASSES}
    sets = (np.arange(2**9)[:, None] >> np.arange(9)) & 1
    worst = np.array([worst_by_hand(one, categories) for one in sets])
    for cell in range(40):
        weight = np.where(sets, p[:, 0, cell].astype(float), 1 - p[:, 0, cell].astype(float)).prod(axis=1)
        mapped = letters[int(found.iucn_worst[0, cell])]
        those = worst == mapped if mapped in ("CR", "EN", "VU", "NT") else ~np.isin(worst, ["CR", "EN", "VU", "NT"])
        close(found.iucn_worst_p[0, cell], weight[those].sum(), atol=1e-6)
    assert len({letters[int(v)] for v in found.iucn_worst.values.ravel()}) > 2


@given(communities, st.integers(0, 99))
@relaxed
def test_endemism_and_specialisation_are_their_definitions(p, seed):
    """Sums of p / range and the mean of the species' specialisation, with deviations, in float64; the unknown are shares."""
    traits = traits_of(len(p), seed)
    p = np.where(p < 0.02, 0, p)  # of a community of less the deviation is lost in the rounding of float32 weights
    found = all_of(p, traits)
    exact = p.astype(float)
    ranges, degree = (traits[name].to_numpy()[:, None, None] for name in ("range_squares", "specialisation"))
    close(found.endemism, np.nansum(exact / ranges, axis=0), atol=1e-6)
    close(found.endemism_sd, np.sqrt(np.nansum(exact * (1 - exact) / ranges**2, axis=0)), atol=2e-4)
    known = np.where(np.isnan(degree), 0, exact)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(exact * degree, axis=0) / known.sum(axis=0)
        deviation = np.sqrt(np.nansum(exact * (1 - exact) * (degree - mean) ** 2, axis=0)) / known.sum(axis=0)
        for name, unknown in (("endemism", np.isnan(ranges)), ("specialisation", np.isnan(degree))):
            close(found[f"{name}_unknown"], np.where(unknown, exact, 0).sum(axis=0) / exact.sum(axis=0), atol=1e-6)
    close(found.specialisation, mean, atol=1e-6)
    close(found.specialisation_sd, np.minimum(deviation, np.sqrt(mean * (1 - mean))), rtol=1e-3, atol=5e-3)


def test_a_species_gives_one_to_endemism_in_all():
    """Over squares that each surely hold the species of their records, weighted endemism adds up to the number of species."""
    random = np.random.default_rng(1)
    present = (random.random((30, 8, 8)) < 0.2).astype(np.float32)
    present[:, 0, 0] = 1
    traits = traits_of(30).assign(range_squares=present.sum(axis=(1, 2)))
    assert compute(["endemism"], in_blocks(present), traits, (8, 8)).endemism.values.sum() == pytest.approx(30, rel=1e-5)


HABITATS = [Habitat(code=f"T{n}", value=n, title=f"Forest {n}", title_fr=f"Forêt {n}", color=f"#00{n}000") for n in range(1, 6)]


@given(communities, st.integers(0, 99))
@relaxed
def test_habitats_are_the_three_likeliest_of_a_softmax(p, seed):
    """Against scipy's softmax of mean affinities: classes from 1 in order of probability; an empty cell has none."""
    affinity = np.random.default_rng(seed).normal(0, 3, (len(p), 5)).astype(np.float32)
    traits = pd.DataFrame({affinity_column(h.code): affinity[:, i] for i, h in enumerate(HABITATS)})
    found = compute([habitat_of("EUNIS", HABITATS)], in_blocks(p), traits, p.shape[1:])
    assert list(found) == ["habitat", "habitat_p", "habitat_2", "habitat_2_p", "habitat_3", "habitat_3_p"]
    exact = p.astype(float)
    with np.errstate(invalid="ignore"):
        q = softmax(np.einsum("kyx,kh->hyx", exact, affinity.astype(float)) / exact.sum(axis=0), axis=0)
    order = -np.sort(-q, axis=0)
    for rank, name in enumerate(("habitat", "habitat_2", "habitat_3")):
        close(found[f"{name}_p"], order[rank], atol=1e-5)
        mapped = np.nan_to_num(found[name].to_numpy(), nan=1).astype(int) - 1
        chosen = np.take_along_axis(q, mapped[None], axis=0)[0]
        np.testing.assert_allclose(chosen, order[rank], atol=1e-5)  # ties apart, the very class
        assert (np.isnan(found[name]) == (exact.sum(axis=0) == 0)).all()


def test_what_is_no_typology_is_refused():
    """One habitat, two of one code, traits that say nothing of one."""
    with pytest.raises(InputError, match="has 1 habitats"):
        habitat_of("EUNIS", HABITATS[:1])
    with pytest.raises(InputError, match="two habitats of one code or value"):
        habitat_of("EUNIS", [HABITATS[0], HABITATS[0]])
    with pytest.raises(InputError, match="nothing of the habitats T1, T2, T3, T4, T5; train again"):
        compute([habitat_of("EUNIS", HABITATS)], in_blocks(np.ones((2, 1, 1), np.float32)), traits_of(2), (1, 1))


@given(communities, st.floats(0, 1, width=32), st.floats(0, 1, width=32))
@relaxed
def test_worst_category_grows_as_the_threshold_falls(p, one, other):
    """A larger set is never in a better class; richness does not depend on the threshold."""
    traits = traits_of(len(p))
    low, high = (all_of(p, traits, threshold=t) for t in sorted((one, other)))
    assert (low.iucn_worst >= high.iucn_worst).all()
    xr.testing.assert_equal(low.richness, high.richness)


@given(communities, st.integers(1, 12), st.randoms(use_true_random=False))
@relaxed
def test_neither_species_order_nor_block_size_matters(p, size, random):
    """A permutation of species with their traits, in other blocks, gives the same indicators."""
    traits = traits_of(len(p))
    order = list(range(len(p)))
    random.shuffle(order)
    threshold = np.full(p.shape[1:], 0.3, np.float32)
    one = all_of(p, traits, threshold=threshold)
    other = all_of(p[order], traits.iloc[order], size, threshold=threshold)
    xr.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_a_group_of_nearly_nothing_beside_one_that_is_sure():
    """Shares of species that are known are theirs, however large what is unknown is beside them."""
    p = np.full((6, 1, 1), np.finfo(np.float32).tiny, np.float32)
    p[3] = 1
    for size in (1, 5, 6):
        traits = traits_of(6).assign(woody=[1.0, 0.0, 0.0, np.nan, 0.0, 0.0])
        assert all_of(p, traits, size).woody_share.item() == pytest.approx(0.2)


def test_strips_do_not_show(monkeypatch):
    """Worked on row by row or at once, in blocks or whole: the same Dataset, with its attributes and encodings."""
    p = np.random.default_rng(1).random((11, 6, 5), dtype=np.float32)
    traits = traits_of(11)
    whole = all_of(p, traits, 11)
    monkeypatch.setattr("geoplantnet.assemblages.blocks._STRIP_VALUES", 30)
    strips = all_of(p, traits, 4)
    xr.testing.assert_allclose(whole, strips, rtol=1e-6)
    for name in whole:
        assert whole[name].attrs.keys() == strips[name].attrs.keys() and whole[name].encoding == strips[name].encoding


def test_certain_impossible_and_no_species():
    """P of exactly 0 and 1: finite everywhere, undefined shares NaN, an empty community has no diversity."""
    traits = traits_of(6).assign(woody=[1.0, 1, 0, 0, 0, np.nan], tree=1.0, iucn=["CR", "LC", "LC", "LC", "LC", None])
    p = np.zeros((6, 1, 3), np.float32)
    p[:, 0, 0] = 1
    p[5, 0, 1] = 1
    found = all_of(p, traits)
    close(found.richness, [[6, 1, 0]])
    close(found.richness_sd, [[0, 0, 0]])
    close(found.shannon, [[math.log(6), 0, 0]])
    close(found.woody_share, [[0.4, np.nan, np.nan]])
    close(found.woody_share_sd, [[0, np.nan, np.nan]])
    close(found.woody_share_unknown, [[1 / 6, 1, np.nan]])
    close(found.threatened, [[1, 0, 0]])
    close(found.iucn_worst, [[8, 1, 0]])
    close(found.iucn_worst_unknown, [[1 / 6, 1, np.nan]])


def test_no_data_stays_no_data():
    """A cell without any probability is NaN in every band; a species without one adds nothing; other cells do not notice."""
    p = np.random.default_rng(4).random((9, 3, 4), dtype=np.float32)
    traits = traits_of(9)
    before = all_of(p, traits)
    p[:, 1, 1] = np.nan
    p[3, 2, 2] = np.nan
    found = all_of(p, traits)
    untouched = np.ones((3, 4), bool)
    untouched[1, 1] = untouched[2, 2] = False
    without = all_of(np.delete(p, 3, axis=0)[:, 2:, 2:3], traits.drop(index=3))
    for name in found:
        values = found[name].to_numpy()
        assert np.isnan(values[1, 1])
        np.testing.assert_array_equal(values[untouched], before[name].to_numpy()[untouched])
        close(values[2:, 2:3], without[name])


def test_ten_thousand_species_stay_accurate():
    """Ten thousand mostly tiny probabilities in blocks: float32 results to the last digits of a float64 sum."""
    random = np.random.default_rng(8)
    p = (random.random((10_000, 2, 3)) ** 40).astype(np.float32)
    p[:, 0, 0] = 1e-5
    found = all_of(p, traits_of(10_000), 256)
    exact = p.astype(float)
    close(found.richness, exact.sum(axis=0), rtol=1e-7)
    close(found.richness_sd, np.sqrt((exact * (1 - exact)).sum(axis=0)), rtol=1e-6)
    close(found.shannon, np.apply_along_axis(entropy, 0, p), rtol=1e-6)
    assert found.shannon[0, 0].item() == pytest.approx(math.log(10_000), rel=1e-6)


def test_torch_gives_the_same_indicators():
    """The same definitions run on torch tensors and agree with numpy."""
    torch = pytest.importorskip("torch")
    p = np.random.default_rng(5).random((40, 4, 5), dtype=np.float32) ** 4
    p[:, 1, 1] = np.nan
    p[7, 2, 2] = np.nan
    p[:, 3, 3], p[::3, 3, 4] = 0, 1
    traits = traits_of(40)
    tensor = torch.from_numpy(p)
    xr.testing.assert_allclose(
        compute(list(INDICATORS), in_blocks(tensor, 16), traits, (4, 5)), all_of(p, traits, 16), rtol=1e-5, atol=1e-6
    )


def test_the_registry_says_all_that_a_map_needs():
    """Names, bands, attributes and storage agree: titles and words for people, codes that fit what they are stored in."""
    p = np.random.default_rng(6).random((8, 2, 2), dtype=np.float32)
    found = all_of(p, traits_of(8))
    assert list(found) == [band for name in INDICATORS for band in indicator(name).info.bands]
    for name in INDICATORS:
        info = indicator(name).info
        assert info.id == name and info.title and info.direction and info.description.endswith(".")
        assert info.range[0] < info.range[1] <= info.storage.largest
        assert info.classes or info.palette in {"viridis", "magma", "cividis", "greens"}
        assert set(info.traits) <= {*FLAGS, "iucn", "range_squares", "specialisation"}
        assert info.fr.title != info.title and info.fr.direction and info.fr.description.endswith(".")
        assert all(c.label_fr and c.label_fr != c.label for c in info.classes)
        lowest, highest = info.valid_range
        assert not (found[name] < lowest).any() and not (found[name] > highest * (1 + 1e-6)).any()
        assert found[name].attrs["long_name"] == info.title
        for band in info.bands:
            assert found[band].dtype == np.float32 and found[band].dims == ("y", "x")
            assert found[band].encoding["_FillValue"] == np.iinfo(found[band].encoding["dtype"]).max
    assert tuple(c.letters for c in reversed(IUCN_CLASSES)) == (*WORST_FIRST, "unknown", "none")
    assert list(found.iucn_worst.attrs["flag_values"]) == [c.value for c in IUCN_CLASSES]


def test_storage_keeps_what_it_promises(tmp_path):
    """Written to Zarr by its encodings and read back: NaN where it was, values within half a step, classes exact."""
    p = np.random.default_rng(9).random((30, 5, 5), dtype=np.float32) ** 3
    p[:, 0, 0] = np.nan
    found = all_of(p, traits_of(30))
    found.to_zarr(tmp_path / "indicators.zarr", zarr_format=3, consolidated=False)
    with xr.open_zarr(tmp_path / "indicators.zarr", consolidated=False) as back:
        for name in found:
            close(back[name], found[name], rtol=0, atol=0.5001 * found[name].encoding["scale_factor"])
        xr.testing.assert_equal(back.iucn_worst.load(), found.iucn_worst)


def test_unknown_names_get_the_nearest_spelling():
    """A misspelt indicator, or none at all, is a matter of configuration."""
    p, traits = np.ones((1, 1, 1), np.float32), traits_of(1)
    with pytest.raises(ConfigurationError, match="Did you mean 'richness'"):
        compute(["richnes"], in_blocks(p), traits, (1, 1))
    with pytest.raises(ConfigurationError, match="no indicator asked for"):
        compute([], in_blocks(p), traits, (1, 1))


@pytest.mark.parametrize(
    ("name", "traits", "says"),
    [
        ("tree_richness", {"woody": [0, 1]}, "no column 'tree' .it has woody"),
        ("tree_richness", {"tree": [0, 2]}, "'tree' holds 2"),
        ("tree_richness", {"tree": ["yes", "no"]}, "'tree' holds something that is neither"),
        ("threatened", {"iucn": ["LC", "LR/nt"]}, "'iucn' holds 'LR/nt'"),
        ("endemism", {"range_squares": [1, -2]}, "'range_squares' holds -2; it may be a number of 0 or more"),
        ("specialisation", {"specialisation": ["much", "little"]}, "neither a number nor empty"),
        ("specialisation", {"specialisation": [0.5, 2.5]}, "'specialisation' holds 2.5; it may be a number from 0 to 1"),
        ("tree_richness", {"tree": [1]}, "over 1 species, the blocks hold 2"),
        ("tree_richness", {"tree": [1, 0, 1]}, "over 3 species, the blocks hold 2"),
    ],
)
def test_traits_that_do_not_fit_are_refused(name, traits, says):
    """A missing column, an impossible value, too few or too many rows: said with what is expected."""
    with pytest.raises(InputError, match=says):
        compute([name], in_blocks(np.ones((2, 1, 1), np.float32)), pd.DataFrame(traits), (1, 1))


@pytest.mark.parametrize(
    "values", [[True, None], pd.array([1, None], "Int8"), pd.array([True, None], "boolean"), [1.0, np.nan], ["1", None]]
)
def test_flags_come_in_many_dresses(values):
    """Booleans, nullable integers, floats and a CSV's text mean the same; missing is unknown."""
    found = compute(["tree_richness"], in_blocks(np.full((2, 1, 1), 0.5, np.float32)), pd.DataFrame({"tree": values}), (1, 1))
    assert found.tree_richness.item() == 0.5 and found.tree_richness_unknown.item() == 0.5
