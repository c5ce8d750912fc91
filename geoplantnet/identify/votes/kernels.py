"""The inner loops of label aggregation, compiled by numba: over the votes of observations, and over those of users.

Votes of an observation stand together, ordered by species and user, and `start` (observation + 1,) says where each observation's begin;
for users the same, ordered by species and observation. Sums of weights are exact (see `plantnet.STEP`), so that no order can matter.
"""

# mypy: disable-error-code="no-untyped-def,misc"

from __future__ import annotations

import numpy as np
from numba import types

from geoplantnet.assemblages.kernels import compiled

_WHERE, _WHO, _NUMBERS, _FLAGS = types.int64[::1], types.int32[::1], types.float64[::1], types.boolean[::1]


@compiled((types.int64, types.int64, _WHO, _NUMBERS, _FLAGS, types.boolean, types.int32, types.float64))
def most(first, last, species, weight, established, only, voice, voice_weight):
    """(species, its summed weight, the weight of all) of the votes from `first` to `last`; ties go to the lowest species, -1 without votes.

    `only`: of established users alone. `voice`: the species of one more vote, of `voice_weight`; -1 = none.
    """
    best, highest, every, spoken = np.int32(-1), -1.0, 0.0, voice < 0
    position = first
    while position < last or not spoken:
        heard, counts = 0.0, False
        if position < last and (spoken or species[position] <= voice):
            here = species[position]
            while position < last and species[position] == here:
                if not only or established[position]:
                    heard += weight[position]
                    counts = True
                position += 1
        else:
            here = voice
        if here == voice and not spoken:
            heard += voice_weight
            spoken = counts = True
        if counts:
            every += heard
            if heard > highest:
                best, highest = here, heard
    if best < 0:
        return best, 0.0, 0.0
    return best, highest, every


@compiled(
    (
        *(_WHERE, _WHO, _NUMBERS, _FLAGS, types.boolean),
        *(_WHO, types.float64, types.boolean, types.float64, types.float64),
        *(_WHO, _NUMBERS, _NUMBERS, _FLAGS),
    )
)
def judge(start, species, weight, established, protect, ai, ai_weight, against, least, share, label, confidence, agreement, valid):
    """Fill label, summed weight of its votes, their share of all weight, and validity, (observation,).

    `weight`, `established` (vote,): of who cast it. `ai` (observation,): the model's species, -1 = none. It votes with `ai_weight`, or,
    `against`, only adds to the total where it disagrees. `protect`: where the votes of established users alone make a label valid, no
    others count. Valid: above `least` and above `share`.
    """
    for i in range(len(label)):
        first, last = start[i], start[i + 1]
        alone = False
        if protect:
            best, highest, every = most(first, last, species, weight, established, True, np.int32(-1), 0.0)
            alone = best >= 0 and highest > least and highest / every > share
        voice = np.int32(-1) if against else ai[i]
        best, highest, every = most(first, last, species, weight, established, alone, voice, ai_weight)
        if against and ai[i] >= 0 and best >= 0 and ai[i] != best:
            every += ai_weight
        label[i], confidence[i] = best, highest
        agreement[i] = highest / every if every > 0 else 0.0
        valid[i] = best >= 0 and highest > least and agreement[i] > share


@compiled((_WHERE, _WHO, _WHO, _WHO, _WHO, _WHO, _FLAGS, _WHERE, _WHERE))
def known_species(start, who, species, observation, author, label, valid, authored, voted):
    """Fill how many species each user knows, (user,): determined on valid observations of their own, and, of the others, on others'.

    `who` (user,): their positions. A vote counts where it is the observation's label; a species counts once.
    """
    for j in range(len(who)):
        position, last = start[j], start[j + 1]
        authored[j] = voted[j] = 0
        while position < last:
            here, own, other = species[position], False, False
            while position < last and species[position] == here:
                i = observation[position]
                if label[i] == here:
                    if author[i] == who[j]:
                        own = own or valid[i]
                    else:
                        other = True
                position += 1
            if own:
                authored[j] += 1
            elif other:
                voted[j] += 1
