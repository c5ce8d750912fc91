"""Calibration: what a score means is learnt from validated records, and told honestly."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from geoplantnet.errors import InputError
from geoplantnet.identify.calibration import (
    Calibration,
    calibrate,
    calibration_error,
    fit_calibration,
    load_calibrations,
    save_calibrations,
)

sys.path.append(str(Path(__file__).parent))
from trust_records import make

N = 20_000


def simulated(curve, n=N, seed=0):
    """True probabilities drawn, and the score of a model that distorts them by `curve`, and outcomes."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(2, 0.7, n)
    return np.clip(curve(truth), 0, 1), rng.random(n) < truth


@pytest.mark.parametrize(
    ("method", "curve", "parameters"),
    [
        ("none", lambda p: p, (1, 1, 0)),
        ("temperature", lambda p: expit(2.5 * logit(p)), (0.4, 0.4, 0)),
        ("platt", lambda p: expit(2 * logit(p) + 1), (0.5, 0.5, -0.5)),
        ("beta", lambda p: p**3, (None, None, None)),
    ],
)
def test_a_known_distortion_is_undone(method, curve, parameters):
    """The simplest curve that undoes the distortion is chosen, its parameters are found, and the held-out error falls to that of chance."""
    score, correct = simulated(curve)
    found = fit_calibration("m", score, correct)
    assert found.method == method and found.records == N and found.correct == pytest.approx(correct.mean())
    for value, expected in zip((found.a, found.b, found.c), parameters):
        assert expected is None or value == pytest.approx(expected, abs=0.05)
    assert found.ece_after < 0.012 and found.log_loss_after <= found.log_loss_before + 1e-12
    assert method == "none" or found.ece_before > 3 * found.ece_after


def test_above_95_is_right_95_times_in_100():
    """Of an overconfident model's scores above 0.95 far fewer are right; after calibration, on new records, at least 95 in 100."""
    distort = lambda p: expit(3 * logit(p))  # noqa: E731
    found = fit_calibration("m", *simulated(distort))
    score, correct = simulated(distort, seed=1)
    assert correct[score > 0.95].mean() < 0.92
    assert correct[found.apply(score) > 0.95].mean() > 0.95


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=50, max_size=120), st.randoms())
def test_laws_of_a_calibration(drawn, random):
    """Any records: the curve is monotone, within [0, 1] and keeps NaN; no order of the records matters."""
    score, correct = (np.array(column) for column in zip(*drawn))
    found = fit_calibration("m", score, correct)
    shown = found.apply(np.linspace(0, 1, 101))
    assert (np.diff(shown) >= -1e-12).all() and (shown >= 0).all() and (shown <= 1).all()
    assert np.isnan(found.apply([np.nan])[0])
    random.shuffle(drawn)
    assert fit_calibration("m", *(np.array(column) for column in zip(*drawn))) == found


def test_records_that_a_score_parts_perfectly():
    """Right above a half, wrong below: the steepest curve that is allowed, no overflow."""
    score = np.linspace(0, 1, 200)
    found = fit_calibration("m", score, score > 0.5)
    assert np.isfinite([found.a, found.b, found.c]).all() and found.apply([0.9])[0] > 0.95


def test_the_error_of_calibration_by_hand():
    """One score for all: the distance to the share that is right; scores that are exact have none; ties are not told apart."""
    assert calibration_error(np.full(100, 0.8), np.arange(100) < 50) == pytest.approx(0.3)
    assert calibration_error([0.0, 1.0] * 50, [False, True] * 50) == 0
    assert calibration_error(np.full(100, 0.5), np.arange(100) % 2) == pytest.approx(0)


def test_a_stores_records_teach_each_model():
    """Valid labels with people's votes teach the model that scored them; others do not, and a model with too few is left out."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(400):
        right = bool(rng.random() < 0.7)
        said = {"ai_taxonID": "bellis-perennis" if right else "abies-alba", "ai_score": 0.7, "ai_model": "m 1"}
        rows.append(
            {**said, "ai_model": "m 2"}
            if i < 30
            else {**said, "valid": False}
            if i < 60
            else {**said, "determinations": 0.0}
            if i < 90
            else said
        )
    table = make(*rows)
    found = calibrate([table.iloc[:200], table.iloc[200:], table.iloc[:0]])
    assert list(found) == ["m 1"] and found["m 1"].records == 310 and found["m 1"].ece_after < 0.06
    assert calibrate([]) == {} and calibrate([make()]) == {}


def test_calibrations_are_kept_in_a_file(tmp_path):
    """Written and read again they are the same, byte for byte; a file that holds none is told."""
    found = {"m 1": fit_calibration("m 1", *simulated(lambda p: p**2, 500))}
    path = save_calibrations(found, tmp_path / "c.json")
    assert load_calibrations(path) == found
    assert save_calibrations(load_calibrations(path), tmp_path / "d.json").read_bytes() == path.read_bytes()
    for text in ("", "[]", '{"m": {}}', '{"m": 3}', path.read_text().replace('"a": ', '"a": -')):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError):
            load_calibrations(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text(path.read_text().replace('"m 1": {', '"m 2": {'))
    with pytest.raises(InputError, match="stands under m 2"):
        load_calibrations(tmp_path / "bad.json")


def test_bad_scores_are_told():
    """Too few records, a score that is no probability, and a curve that falls."""
    with pytest.raises(InputError, match="49 records"):
        fit_calibration("m", np.full(49, 0.5), np.ones(49, bool))
    with pytest.raises(InputError, match="1 without a score"):
        fit_calibration("m", np.r_[np.full(99, 0.5), np.nan], np.ones(100, bool))
    with pytest.raises(InputError, match=r"scores from 0.5 to 1.5"):
        fit_calibration("m", [0.5, 1.5] * 50, [True] * 100)
    with pytest.raises(InputError, match="no monotone curve"):
        Calibration(model="m", records=9, method="beta", a=-1, correct=0.5, ece_before=0, ece_after=0, log_loss_before=0, log_loss_after=0)
