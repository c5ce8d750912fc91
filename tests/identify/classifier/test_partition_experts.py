"""A master and experts: heads on shared features, and nets of their own, trained, kept and asked as one."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from geoplantnet.errors import InputError, ModelError
from geoplantnet.identify.classifier.partition import PartitionedHead, PartitionedNetwork, expert_photos, fit_partition, open_partition
from geoplantnet.identify.classifier.train import Training
from geoplantnet.identify.network import FakeNetwork
from geoplantnet.identify.partition import Partition, at_random
from geoplantnet.identify.photo_set import PhotoSet
from geoplantnet.taxonomy.species_list import SpeciesList, Taxon

SPECIES = SpeciesList(checklist="test", taxa=tuple(Taxon(taxon_id=f"t{i}", scientific_name=f"Genus s{i}") for i in range(7)))
PARTITION = Partition(
    names=("reds", "greens", "alone"),
    of=np.array([0, 1, 0, 1, 0, 1, 2]),
    shares=np.array([0.5, 0.2, 0.3, 0.3, 0.2, 0.5, 1.0]),
)
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)


def partitioned(**options: object) -> tuple[PartitionedNetwork, list[int]]:
    """Of fakes; and which experts were loaded, in order."""
    loads: list[int] = []

    def expert(group: int) -> FakeNetwork:
        loads.append(group)
        taxa = tuple(SPECIES[int(i)] for i in PARTITION.members[group])
        return FakeNetwork(SpeciesList(checklist="group", taxa=taxa), seed=group + 1)

    master = FakeNetwork(PARTITION.groups_list("test"))
    experts = {group: lambda group=group: expert(group) for group in (0, 1)}
    return PartitionedNetwork(card=master.card, species=SPECIES, partition=PARTITION, master=master, experts=experts, **options), loads  # type: ignore[arg-type]


def test_a_head_of_all_experts_is_its_forward_and_its_loss_factors():
    """Answers of all experts are those of training; cross-entropy is master's plus expert's; an expert of another group gets no gradient."""
    torch.manual_seed(0)
    head, x, y = PartitionedHead(4, PARTITION), torch.randn(5, 4), torch.tensor([0, 0, 2, 4, 2])
    with torch.no_grad():
        head.experts.weight.normal_()
        head.master.weight.normal_()
    log_p = head(x)
    told, chosen = head.answer(x, None)
    assert chosen.all() and np.allclose(told, log_p.detach().numpy(), atol=1e-5) and torch.allclose(log_p.exp().sum(dim=1), torch.ones(5))
    loss = F.cross_entropy(log_p, y)
    reds = torch.tensor([0, 2, 4])
    factored = F.cross_entropy(head.master(x), torch.zeros(5, dtype=torch.long)) + F.cross_entropy(head.experts(x)[:, reds], y // 2)
    assert loss.item() == pytest.approx(factored.item(), rel=1e-5)
    loss.backward()
    assert head.experts.weight.grad[[0, 2, 4]].any() and head.experts.weight.grad[[1, 3, 5, 6]].abs().max() < 1e-6
    one, asked_of = head.answer(x, 1)
    rows, columns = np.nonzero(asked_of[:, PARTITION.of])
    assert (asked_of.sum(axis=1) == 1).all() and np.allclose(one[rows, columns], told[rows, columns], atol=1e-5)
    assert np.allclose(np.exp(one).sum(axis=1), 1, atol=1e-5)


def test_all_experts_are_master_times_experts():
    """By hand, photo by photo; a group without an expert by its shares; features, organs and plant are the master's."""
    net, _ = partitioned(k=None)
    told, master = net(PIXELS), net.master(PIXELS)
    p = np.exp(told.logits)
    groups = np.exp(master.logits) / np.exp(master.logits).sum(axis=1, keepdims=True)
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5) and np.allclose(p[:, 6], groups[:, 2], rtol=1e-4)
    for group in (0, 1):
        members = PARTITION.members[group]
        logits = FakeNetwork(SpeciesList(checklist="g", taxa=tuple(SPECIES[int(i)] for i in members)), seed=group + 1)(PIXELS).logits
        inside = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert np.allclose(p[:, members], groups[:, [group]] * inside, rtol=1e-3)
    for field in ("features", "organs", "plant"):
        assert (getattr(told, field) == getattr(master, field)).all()


def test_a_batch_answers_as_its_photos_and_tells_what_it_cost():
    """One by one the same; with K experts a photo no more than K are asked, and each is loaded once, when first asked."""
    net, loads = partitioned(k=1)
    assert loads == [] and net.cost.photos == 0
    whole = net(PIXELS).logits
    assert net.cost.photos == 9 and net.cost.experts <= 9 and net.cost.loads == len(loads) == len(set(loads))
    assert np.allclose(np.concatenate([net(PIXELS[i : i + 1]).logits for i in range(9)]), whole, atol=1e-5) and len(loads) <= 2


def test_experts_beyond_what_is_kept_leave_memory():
    """With room for one, answers stay the same and experts are read again."""
    roomy, _ = partitioned(k=None)
    narrow, loads = partitioned(k=None, kept=1)
    assert (narrow(PIXELS).logits == roomy(PIXELS).logits).all() and (narrow(PIXELS).logits == roomy(PIXELS).logits).all()
    assert loads == [0, 1, 0, 1] and len(narrow._loaded) == 1


def test_threads_get_the_same_answers():
    """Eight at once, with room for one expert."""
    net, _ = partitioned(k=None, kept=1)
    wanted, found = partitioned(k=None)[0](PIXELS).logits, []
    threads = [threading.Thread(target=lambda: found.append(net(PIXELS).logits)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all((logits == wanted).all() for logits in found) and net.cost.photos == 72


def test_parts_that_do_not_fit_are_refused():
    """Another list of species, an expert of other species, no expert to ask, none kept."""
    net, _ = partitioned()
    with pytest.raises(ModelError, match="do not fit"):
        replace(net, partition=at_random(7, 2))
    net.experts = {0: lambda: FakeNetwork(SPECIES), 1: lambda: FakeNetwork(SPECIES)}  # type: ignore[assignment]
    with pytest.raises(ModelError, match="expert of group"):
        net(PIXELS)
    for wrong in ({"k": 0}, {"kept": 0}):
        with pytest.raises(InputError, match="at least one"):
            partitioned(**wrong)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> PhotoSet:
    """Of seven species, each a colour, 10 photos; of the last but one none."""
    folder, rng, rows = tmp_path_factory.mktemp("photos"), np.random.default_rng(0), []
    for species in (0, 1, 2, 3, 4, 6):
        colour = np.array([species % 2, species // 2 % 2, species // 4]) * 180 + 30
        for i in range(10):
            file = folder / f"{species}-{i}.png"
            Image.fromarray(np.clip(colour + rng.normal(0, 12, (40, 40, 3)), 0, 255).astype(np.uint8)).save(file)
            rows.append({"image": str(file), "species": species, "organ": "leaf", "observation": file.stem})
    return PhotoSet(species=SPECIES, table=pd.DataFrame(rows).assign(split="", author="", license=""))


def test_a_partition_is_trained_kept_and_opened(photos, tmp_path):
    """It learns; all experts or one, answers sum to one; a species without photos is not impossible; one expert is trained anew alone."""
    training = Training(backbone="small", size=32, transfer="all", epochs=12, batch=10, lr=0.01, backbone_lr=0.5)
    trained: list[str] = []
    folder = fit_partition(tmp_path / "net", photos, PARTITION, training, on_part=trained.append)
    assert trained == ["master", "expert reds", "expert greens"]
    net = open_partition(folder, k=None)
    pixels = np.stack([np.asarray(Image.open(file).resize((32, 32))) for file in photos.table["image"]])
    log_p = net(pixels).logits
    assert np.allclose(np.exp(log_p).sum(axis=1), 1, atol=1e-4) and np.isfinite(log_p).all()
    assert (log_p.argmax(axis=1) == photos.labels).mean() > 0.8 and net.partition.shares[5] == pytest.approx(1 / 23)
    one = open_partition(folder, k=1)
    assert (one(pixels).logits.argmax(axis=1) == photos.labels).mean() > 0.8 and one.cost.experts <= 60
    trained.clear()
    fit_partition(folder, photos, PARTITION, training, groups=[1], on_part=trained.append)
    assert trained == ["expert greens"] and np.allclose(open_partition(folder, k=None)(pixels).logits, log_p, atol=1e-4)
    assert expert_photos(photos, PARTITION, 1).labels.tolist() == [0] * 10 + [1] * 10


def test_a_folder_that_is_none_or_lacks_a_part_is_told(photos, tmp_path):
    """Missing, damaged, or without an expert it names."""
    with pytest.raises(ModelError, match="fit_partition"):
        open_partition(tmp_path)
    (tmp_path / "partition.json").write_text('{"names": ["a"], "of": [0]}')
    with pytest.raises(ModelError, match="no readable partition"):
        open_partition(tmp_path)
    with pytest.raises(ModelError):
        fit_partition(tmp_path, photos, PARTITION, Training(backbone="small"), groups=[0])


def test_a_partition_that_was_killed_goes_on_and_changes_nothing_before_its_end(photos, tmp_path):
    """Parts that were done are not done again; until the last is, the folder answers as before; then in one step as one never killed."""
    training = Training(backbone="small", size=32, transfer="all", epochs=3, batch=10, lr=0.01, backbone_lr=0.5)
    pixels = np.stack([np.asarray(Image.open(file).resize((32, 32))) for file in photos.table["image"].iloc[::6]])
    whole = fit_partition(tmp_path / "whole", photos, PARTITION, training)
    net = fit_partition(tmp_path / "net", photos, PARTITION, Training(backbone="small", size=32, transfer="all", epochs=1))
    before = open_partition(net, k=None)(pixels).logits
    trained: list[str] = []

    def killed(name):
        trained.append(name)
        if name == "expert greens":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_partition(net, photos, PARTITION, training, on_part=killed)
    assert np.array_equal(open_partition(net, k=None)(pixels).logits, before)
    fit_partition(net, photos, PARTITION, training, on_part=trained.append)
    assert trained == ["master", "expert reds", "expert greens", "expert greens"]
    np.testing.assert_allclose(open_partition(net, k=None)(pixels).logits, open_partition(whole, k=None)(pixels).logits, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_group_that_got_photos_later_is_answered_by_shares_until_it_is_trained(photos, tmp_path):
    """Asked for alone it is; asked for another, it is not named as an expert that is missing."""
    training = Training(backbone="small", size=32, transfer="all", epochs=1)
    few = photos.subset(photos.labels != 3)  # of the greens one species is left
    net = fit_partition(tmp_path / "net", few, PARTITION, training)
    assert set(open_partition(net).experts) == {0}
    fit_partition(net, photos, PARTITION, training, groups=[0])
    assert set(open_partition(net).experts) == {0}
    fit_partition(net, photos, PARTITION, training, groups=[1])
    assert set(open_partition(net).experts) == {0, 1}
    other = Partition(names=("x", *PARTITION.names[1:]), of=PARTITION.of, shares=PARTITION.shares)
    with pytest.raises(ModelError, match="other groups"):
        fit_partition(net, photos, other, training, groups=[1])


def test_experts_of_few_species_take_a_loss_of_the_first_few(photos, tmp_path):
    """A loss of the first five species is one of the first among two."""
    training = Training(backbone="small", size=32, transfer="all", epochs=1, loss="top_k")
    small = Training(backbone="small", size=32, transfer="all", epochs=1, loss="top_k", loss_options={"k": 2})
    for one in (training, small):
        assert set(open_partition(fit_partition(tmp_path / f"net{one.loss_options.get('k', 5)}", photos, PARTITION, one)).experts) == {0, 1}
