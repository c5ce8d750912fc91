"""Every task of the page of identification, on a phone."""

from __future__ import annotations

from tests.serving.page_identify.conftest import FakeApi, Opener, drawn, expect, jpeg


def test_a_photo_becomes_candidates(identify_visits: Opener, api: FakeApi) -> None:
    """A photo is taken in, sent, and answered by candidates with their scores, names and photos beside one's own."""
    visit = identify_visits()
    visit.open()
    visit.photos(jpeg(drawn(1)))
    visit.identify()
    visit.answered()
    cards = visit.page.locator(".candidate")
    expect(cards).to_have_count(5)
    expect(cards.first).to_contain_text("Stemless gentian")
    expect(cards.first).to_contain_text("Gentiana acaulis")
    expect(cards.first).to_contain_text("82 % very likely")
    expect(cards.first.locator(".gallery .own")).to_be_visible()
    expect(cards.first.locator(".gallery li")).to_have_count(5)
