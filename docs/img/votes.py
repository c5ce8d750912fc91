"""The picture of docs/votes.md: what strategies are worth, and what attackers do to them.

PYTHONPATH=. python docs/img/votes.py [--quick]
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.votes_robust import VOTES, armed, damage, real, targets, uniform
from geoplantnet.identify.votes import STRATEGIES
from geoplantnet.identify.votes.generator import adversaries, sybils
from geoplantnet.identify.votes.scores import SUBSETS, scores

QUICK = "--quick" in sys.argv
COLOURS = {
    "majority": "#777777",
    "weighted-majority": "#aaaaaa",
    "wawa": "#3b528b",
    "two-third": "#8c6bb1",
    "dawid-skene": "#d9a51f",
    "glad": "#c2622d",
    "plantnet": "#1b7837",
}
SHOWN = [name for name in COLOURS if name in STRATEGIES and name != "weighted-majority"]
DEFENCES = {"as published": "#c2622d", "established = 8": "#d9a51f", "minimal weights": "#3b528b", "anchored": "#1b7837"}
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
ACCOUNTS = (1, 2, 3, 4, 6, 10, 30, 100)


def crowds(axes: Axes) -> None:
    """Accuracy where people disagree, on both crowds."""
    for title, crowd, marker, lift in (("real", real(QUICK), "o", 0.12), ("uniform", uniform(QUICK), "s", -0.12)):
        where = SUBSETS["disagreement"](crowd.votes)
        for y, name in enumerate(reversed(SHOWN)):
            figure = scores(STRATEGIES[name]().aggregate(crowd.votes), crowd.truth, where).accuracy
            axes.plot([figure.low, figure.high], [y + lift, y + lift], color=COLOURS[name], lw=2)
            axes.plot(figure.value, y + lift, marker, color=COLOURS[name], mfc=COLOURS[name] if marker == "o" else "white")
        axes.plot([], [], marker, color="#222222", mfc="#222222" if marker == "o" else "white", ls="", label=f"{title} crowd")
    axes.set_yticks(range(len(SHOWN)), reversed(SHOWN))
    axes.set(title="Labels that people dispute", xlabel="share that is true")
    axes.legend(frameon=False, loc="lower right")


def degradation(axes: Axes) -> None:
    """Accuracy against the share of adversaries."""
    crowd = real(QUICK)
    attacked = [adversaries(crowd, int(share * crowd.votes.n_users), VOTES, 1) for share in SHARES]
    for name in SHOWN:
        accuracy = [scores(STRATEGIES[name]().aggregate(one.votes), one.truth, resamples=1).accuracy.value for one in attacked]
        # Two thirds' labels are the majority's; it trusts fewer.
        dashes = "--" if name == "two-third" else "-"
        axes.plot([100 * share for share in SHARES], accuracy, "o", ls=dashes, ms=3, color=COLOURS[name], label=name)
    axes.set(title="Adversaries on everything", xlabel="new accounts, % of the users", ylabel="share of all labels that is true")
    axes.legend(frameon=False)


def targeted(axes: Axes) -> None:
    """300 trusted labels against the number of new accounts that attack them together."""
    before = armed(real(QUICK))
    aim = targets(before)[:300]
    for name, colour in DEFENCES.items():
        done = [damage(before[name], lambda crowd, found, at, n=n: sybils(crowd, found.label, at, n, 1), aim) for n in ACCOUNTS]
        dashes = "--" if name == "established = 8" else "-"
        axes.plot(ACCOUNTS, [d.flipped for d in done], "o", ls=dashes, ms=3, color=colour, label=name)
    axes.set(
        title="300 trusted labels, one hand", xlabel="new accounts that vote together", ylabel="share of the labels flipped", xscale="log"
    )
    axes.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="center right")


plt.rcParams.update({"font.size": 8, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False, "legend.fontsize": 7})
figure, panels = plt.subplots(1, 3, figsize=(10, 3.1), constrained_layout=True)
for draw, panel in zip((crowds, degradation, targeted), panels, strict=True):
    draw(panel)
figure.savefig(Path(__file__).parent / "votes-robust.png", dpi=110)
