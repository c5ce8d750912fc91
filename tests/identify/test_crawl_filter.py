"""The crawl filter: what a page says decides, never the order in which pages come."""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoplantnet.errors import InputError, UsageError
from geoplantnet.identify import crawl
from geoplantnet.identify.crawl import CandidatePage, filter_crawl, names_other

OAKS = (
    "Quercus robur",
    "Quercus petraea",
    "Quercus alba",
    "Quercus × rosacea",
    "Arctostaphylos uva-ursi",
    "Arctostaphylos alpina",
    "Abies alba",
)


def page(species="Quercus robur", title=None, caption="", text="", image="", url="https://a.org/1"):
    return CandidatePage(
        url=url,
        title=species if title is None else title,
        caption=caption,
        text=text,
        image=image or f"{url}{species}{caption}",
        species=species,
    )


def reason(candidate, known=OAKS):
    """Why a single page is refused; empty = kept."""
    return next(iter(filter_crawl([candidate], [candidate.species], known=known).counts), "")


@pytest.mark.parametrize(
    "title",
    [
        *("Quercus robur", "QUERCUS ROBUR L.", "Quércus róbur", "quercus_robur_01.jpg", "Quercus-robur", "Chêne pédonculé (Quercus robur)"),
        *(
            "Quercus robur subsp. brutia (Ten.) O.Schwarz",
            "Quercus robur var. alba hort.",
            "robur, a Quercus",
            "Quercus pedunculata = Quercus robur",
        ),
        "An oak, Quercus robur; beside it Abies alba",
    ],
)
def test_a_page_of_the_species_is_kept(title):
    """Authors, subspecies, case, accents, file names and species of other genera change nothing."""
    assert reason(page(title=title)) == ""
    assert reason(page(title="An oak", caption=title)) == ""


@pytest.mark.parametrize("title", ["Quercus", "robur", "Quercus roburoides", "Quercuss robur", "Q. robur", "Chêne pédonculé", ""])
def test_genus_and_epithet_must_both_stand_there(title):
    """A title without the whole genus and the whole epithet is not enough, nor is one half there and one in the caption."""
    assert reason(page(title=title)) == crawl.MISSING
    assert reason(page(title="Quercus", caption="robur")) == crawl.MISSING
    assert reason(page(title=title, text="Quercus robur")) == crawl.MISSING


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Quercus petraea",
            "Q. petraea",
            "Q.petraea",
            "Qu. petraea",
            "QUERCUS PETRAEA",
            "Quercus robur and petraea",
            "Quercus robur, Q. petraea",
        ),
        *("Quercus robur x petraea", "Quercus robur × Q. petraea", "Quercus x rosacea", "Quercus × rosacea", "quercus_petraea.jpg"),
        *("Quercus cf. petraea", "Quercus\npétræa", "Quercus robur / petraea", "not Quercus-alba"),
    ],
)
def test_another_species_of_the_genus_refuses(text):
    """In full, abbreviated, as a hybrid or joined to the name: wherever on the page it stands."""
    assert reason(page(text=f"Some words. {text} and more.")) == crawl.OTHER
    assert reason(page(title="Quercus robur", caption=text)) == crawl.OTHER


@pytest.mark.parametrize(
    "text",
    [
        "Quercus robur L., Abies alba",
        "P. petraea",
        "petraea",
        "Quercus",
        "Quercus robur. Alba is a town",
        "Quercus petraeaster",
        "q petraea",
    ],
)
def test_what_names_no_other_species_does_not(text):
    """Epithets of other genera, words alone, longer words and letters without a full stop are no names."""
    assert reason(page(text=text)) == ""


def test_hyphens_may_be_lost():
    """uva-ursi, uva ursi and uva_ursi are one epithet; a hybrid's page is not refused for its own name."""
    for title in ("Arctostaphylos uva-ursi", "Arctostaphylos uva ursi (L.) Spreng.", "arctostaphylos_uva_ursi"):
        assert reason(page("Arctostaphylos uva-ursi", title=title)) == ""
        assert reason(page("Arctostaphylos uva-ursi", title=title, text="A. alpina")) == crawl.OTHER
    assert reason(page("Quercus × rosacea", title="Quercus x rosacea Bechst.")) == ""
    assert reason(page("Quercus × rosacea", title="Quercus rosacea (Q. robur × Q. petraea)")) == crawl.OTHER
    assert names_other("Capsella bursa-pastoris", "capsella", ("bursa",), [("bursa", "pastoris")])
    assert not names_other("Capsella bursa-pastoris", "capsella", ("bursa", "pastoris"), [("bursa",)])


def test_an_image_of_several_species_is_refused_for_all():
    """The same image returned for two species is kept for neither, even where one page alone would pass."""
    found = filter_crawl(
        [page(image="i"), page("Abies alba", title="", image="i"), page(image="j"), page(image="j", url="https://b.org")],
        OAKS,
        per_species=9,
    )
    assert found.counts == {crawl.SEVERAL: 2, crawl.AGAIN: 1} and [kept.image for kept in found.kept] == ["j"]
    assert found.by_species["Quercus robur"] == {"kept": 1, crawl.SEVERAL: 1, crawl.AGAIN: 1}


def test_one_species_under_two_spellings_is_one():
    """A name with its author asks for the same species, so its image is not one of several."""
    found = filter_crawl([page(image="i"), page("Quercus robur L.", image="i", url="https://b.org")], ["Quercus robur"])
    assert found.counts == {crawl.AGAIN: 1}


def test_sites_take_turns():
    """Of a site with 100 pages and two with three, ten images are four, three and three; another seed chooses others."""
    pages = [page(image=f"a{i}", url=f"https://www.a.org/{i}") for i in range(100)]
    pages += [page(image=f"{site}{i}", url=f"https://{site}.org/{i}") for site in "bc" for i in range(3)]
    found = filter_crawl(pages, OAKS, per_species=10)
    assert Counter(kept.image[0] for kept in found.kept) == {"a": 4, "b": 3, "c": 3} and found.counts == {crawl.LIMIT: 96}
    assert set(found.kept) != set(filter_crawl(pages, OAKS, per_species=10, seed=1).kept)


def test_bad_requests_are_told():
    """A genus is no species, fifty at most is at least one, and a page nobody asked for or without an image is counted."""
    with pytest.raises(InputError, match="'Quercus' is no species"):
        filter_crawl([], ["Quercus"])
    with pytest.raises(UsageError, match="per_species 0"):
        filter_crawl([], OAKS, per_species=0)
    blank = CandidatePage(url="", title="Quercus robur", caption="", text="", image="", species="Quercus robur")
    found = filter_crawl([page("Rosa canina"), page("nothing"), blank], OAKS)
    assert found.counts == {crawl.NOT_ASKED: 2, crawl.NO_IMAGE: 1} and found.kept == ()


WORDS = st.sampled_from(["Quercus", "robur", "petraea", "Q.", "alba", "Abies", "x", "L.", "and", ",", "oak", "Arctostaphylos", "uva-ursi"])
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)
PAGES = st.builds(
    CandidatePage,
    url=st.sampled_from(["https://a.org/1", "https://a.org/2", "http://www.b.org", "nonsense", ""]),
    title=TEXTS,
    caption=TEXTS,
    text=TEXTS,
    image=st.sampled_from([*"abcdefgh", ""]),
    species=st.sampled_from([*OAKS, "Rosa canina", "Quercus robur L.", ""]),
)


@settings(max_examples=120)
@given(st.lists(PAGES, max_size=25), st.randoms(), st.integers(1, 3))
def test_laws_of_the_filter(pages, random, limit):
    """Read = kept + counts, also by species; no order of pages matters; at most the limit; no kept image is of two species; pages kept pass again."""
    found = filter_crawl(pages, OAKS, per_species=limit)
    assert found.read == len(pages) == len(found.kept) + sum(found.counts.values())
    assert sum(sum(own.values()) for own in found.by_species.values()) + found.counts.get(crawl.NOT_ASKED, 0) == len(pages)
    shuffled = list(pages)
    random.shuffle(shuffled)
    assert filter_crawl(shuffled, OAKS, per_species=limit) == found
    assert all(own["kept"] <= limit for own in found.by_species.values())
    assert len({kept.image for kept in found.kept}) == len(found.kept)
    assert filter_crawl(found.kept, OAKS, per_species=limit).kept == found.kept


@settings(max_examples=80)
@given(st.text(max_size=60))
def test_any_text_is_read(text):
    """No text breaks the filter."""
    filter_crawl([page(title=text, caption=text, text=text, image=text, url=text)], OAKS)
    filter_crawl([page(species=text, image="i")], OAKS)


def test_real_names_are_told_apart():
    """Every species of the reference passes on its own page and is refused beside a sibling of its genus."""
    file = Path(os.environ.get("GEOPLANTNET_DATA", "../shared/data")) / "reference" / "species_reference.csv"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    table = pd.read_csv(file, usecols=["species", "authorship", "genus"]).fillna("").drop_duplicates("species")
    table = table[table["species"].str.fullmatch(r"[A-Z][a-z]+(?:-[a-z]+)? [a-z-]+")].sample(2_000, random_state=0)
    names = table["species"].tolist()
    alone = [page(name, title=f"{name} {author}", image=name) for name, author in zip(names, table["authorship"])]
    assert filter_crawl(alone, names).counts == {}
    siblings = table.groupby("genus")["species"].agg(list)
    pairs = [(a, b) for own in siblings for a, b in pairwise(own)]
    beside = [page(a, title=a, text=f"see also {b[0]}. {b.split()[1]}", image=a) for a, b in pairs]
    assert filter_crawl(beside, names).counts == {crawl.OTHER: len(pairs)}
