"""Run files of LifeCLEF: what is written is read back, what is malformed is refused with its line, scores are those of brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoplantnet.errors import InputError
from geoplantnet.identify.run_file import (
    read_quadrats,
    read_run,
    read_transects,
    read_truth,
    score_quadrats,
    score_run,
    write_quadrats,
    write_run,
)

HEAD = "ObservationId;species_id;probability;rank\n"


@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_a_run_scores_as_the_probabilities_it_was_made_of(n, species, top, seed):
    """Written, read and scored: the reciprocal rank of every photo by brute force, 0 beyond the candidates told."""
    import tempfile
    from pathlib import Path

    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(species), n)
    names, ids, truth = [f"o{i}" for i in range(n)], [f"s{k}" for k in range(species)], rng.integers(species, size=n)
    with tempfile.TemporaryDirectory() as folder:
        run = read_run(write_run(Path(folder) / "run.csv", names, p, ids, top=top))
    told = score_run(run, {name: ids[k] for name, k in zip(names, truth)})
    rank = np.array([(row > row[k]).sum() + 1 for row, k in zip(p, truth)])
    mrr = np.where(rank <= top, 1 / rank, 0)
    assert told["mrr"] == pytest.approx(mrr.mean()) and told["top1"] == pytest.approx((rank == 1).mean())
    assert told["macro_mrr"] == pytest.approx(np.mean([mrr[truth == k].mean() for k in np.unique(truth)]))


def test_an_observation_without_an_answer_scores_nothing(tmp_path):
    """It counts in the mean; an answer nobody asked for is refused."""
    run = read_run(write_run(tmp_path / "run.csv", ["a"], [[1.0]], ["s"]))
    assert score_run(run, {"a": "s", "b": "s"}) == {"mrr": 0.5, "macro_mrr": 0.5, "top1": 0.5, "macro_top1": 0.5}
    with pytest.raises(InputError, match="not among the 1 observations"):
        score_run(run, {"b": "s"})


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("a;s;2;1\n", "line 2: a probability lies outside"),
        ("a;s;0.5;1\na;s;0.4;2\n", "line 3: a species stands twice"),
        ("a;s;0.5;1\na;t;0.4;3\n", "ranks"),
        ("a;s;0.3;1\na;t;0.4;2\n", "line 3: a candidate is more probable"),
        ("a;s;0.3\n", "line 2: a;s;0.3 is no observation"),
        ("a;s;nan;1\n", "line 2: a probability lies outside"),
        ("".join(f"a;s{k};0;{k + 1}\n" for k in range(101)), "more than 100"),
    ],
)
def test_a_malformed_run_is_refused(tmp_path, rows, says):
    """With the line, and what is wrong there."""
    (tmp_path / "run.csv").write_text(HEAD + rows)
    with pytest.raises(InputError, match=says):
        read_run(tmp_path / "run.csv")


def test_another_head_is_refused(tmp_path):
    """A file of commas is none of semicolons."""
    (tmp_path / "run.csv").write_text(HEAD.replace(";", ","))
    with pytest.raises(InputError, match="a run file begins with"):
        read_run(tmp_path / "run.csv")


@given(st.dictionaries(st.text("abc123", min_size=1, max_size=4), st.sets(st.sampled_from(["1", "2", "3"])), min_size=1, max_size=6))
def test_quadrats_come_back_and_score_as_sets_do(answers):
    """The same sets have F1 1, no answer at all has 0 wherever something grows."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        found = read_quadrats(write_quadrats(Path(folder) / "run.csv", {name: sorted(ids) for name, ids in answers.items()}))
    assert {name: set(ids) for name, ids in found.items()} == answers
    assert score_quadrats(found, answers) == 1
    assert score_quadrats({}, answers) == pytest.approx(np.mean([not ids for ids in answers.values()]))
    assert score_quadrats({"q": ["1", "2"]}, {"q": ["2", "3", "4"]}) == pytest.approx(0.4)


def test_transects_weigh_alike_however_many_quadrats_they_have(tmp_path):
    """Three quadrats of one transect that are right and one of another that is wrong: half, and three quarters without transects."""
    (tmp_path / "t.csv").write_text("quadrat,taxonID,transect\na,1,x\nb,1,x\nc,1,x\nd,1,y\nd,2,y\n")
    truth, transects = read_truth(tmp_path / "t.csv"), read_transects(tmp_path / "t.csv")
    run = {"a": ["1"], "b": ["1"], "c": ["1"], "d": ["9"]}
    assert score_quadrats(run, truth) == 0.75 and score_quadrats(run, truth, transects) == 0.5
    with pytest.raises(InputError, match="'d' has no transect"):
        score_quadrats(run, truth, {"a": "x", "b": "x", "c": "x"})
    (tmp_path / "t.csv").write_text("quadrat,taxonID,transect\na,1,x\na,2,y\n")
    with pytest.raises(InputError, match="'a' into two transects"):
        read_transects(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("quadrat,taxonID\na,1\n")
    assert read_transects(tmp_path / "t.csv") is None


@pytest.mark.parametrize("row", ["q,1 2\n", 'q,"[1, 1]"\n', 'q,"[1]"\nq,"[2]"\n'])
def test_malformed_quadrats_are_refused(tmp_path, row):
    """A list that is none, a species twice, a quadrat twice."""
    (tmp_path / "run.csv").write_text("quadrat_id,species_ids\n" + row)
    with pytest.raises(InputError, match="line"):
        read_quadrats(tmp_path / "run.csv")
