"""Fine-tuning on a tiny transformer: what changes, what stays, what is saved and what it is
compared with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from featcache.backbones import BackboneSpec, Preprocessing, build_network, resolve
from featcache.backbones.modules import TimmNet
from featcache.backbones.own_checkpoints import read_metadata, write_checkpoint
from featcache.backbones.resolve import BACKBONES
from featcache.cache import FeatureStore
from featcache.datasets import Manifest, Sample, ScanOptions, scan_into
from featcache.errors import DataError, SettingsError, StoreError
from featcache.evaluate import load_result
from featcache.finetune import FinetuneOptions, FinetuneResult, data, finetune, train
from featcache.finetune.artifacts import head_path
from featcache.finetune.data import split_manifest
from featcache.probes import load_head
from featcache.testing import make_tree

SIZE = 32


def create() -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    trunk = VisionTransformer(
        img_size=SIZE, patch_size=8, embed_dim=24, depth=3, num_heads=2, num_classes=0
    )
    return TimmNet(trunk)


def no_weights() -> Path:
    raise AssertionError("a seed was given")


TINY = BackboneSpec(
    name="tiny",
    summary="",
    architecture="test:tiny",
    n_features=24,
    tap={"layer": "final"},
    native=Preprocessing(
        preset="native",
        resize=None,
        interpolation="bicubic",
        size=SIZE,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    find_weights=no_weights,
    build=lambda path: create(),
    create=create,
    licence="",
    page="",
    crop=SIZE,
)
OPTIONS = FinetuneOptions(
    backbone="tiny#random3",
    train=["progan"],
    epochs=4,
    patience=4,
    batch_size=8,
    lr=1e-2,
    start="zero",
    augment="clean",
    val_fraction=0.25,
    device="cpu",
    preset="univfd",
    n_resamples=50,
)


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BACKBONES, "_added", {"tiny": TINY})
        yield


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("data")
    root = make_tree(folder / "toy", n=16, size=40)
    return scan_into(folder / "store", root, ScanOptions()).manifest


@pytest.fixture(scope="module")
def done(
    manifest: Manifest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FinetuneResult, FeatureStore, Path]:
    """One uninterrupted run of the last block, in one thread."""
    folder = tmp_path_factory.mktemp("done")
    store, out = FeatureStore(folder / "store"), folder / "w.safetensors"
    return finetune(manifest, store, replace(OPTIONS, workers=1), out), store, out


def base_state() -> dict[str, torch.Tensor]:
    return build_network([resolve("tiny#random3")]).model.state_dict()  # type: ignore[union-attr]


def test_the_loss_falls(done: tuple[FinetuneResult, FeatureStore, Path]) -> None:
    epochs = done[0].epochs
    assert [epoch.epoch for epoch in epochs] == [0, 1, 2, 3, 4]
    assert math.isnan(epochs[0].loss)
    assert epochs[4].loss < epochs[1].loss
    assert epochs[4].val_loss < epochs[0].val_loss == pytest.approx(math.log(2), abs=1e-6)


def test_only_the_last_block_and_what_follows_it_changed(
    done: tuple[FinetuneResult, FeatureStore, Path],
) -> None:
    before, after = base_state(), load_file(done[2])
    assert set(before) == set(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    last = ("trunk.blocks.2.", "trunk.norm.")
    assert changed
    assert all(name.startswith(last) for name in changed)
    assert done[0].n_trained == sum(after[n].numel() for n in after if n.startswith(last))


def test_saved_weights_and_head_are_the_graph_that_was_validated(
    done: tuple[FinetuneResult, FeatureStore, Path], manifest: Manifest
) -> None:
    """The loss of the kept epoch comes out again from the features in the store and the saved
    head.
    """
    result, store, out = done
    parts = split_manifest(manifest, OPTIONS.train, OPTIONS.val_fraction, OPTIONS.seed)
    head = load_head(head_path(out))
    key = store.find("tiny", weights=result.weights_id)
    assert head.feature_keys == [dict(key.fields)]
    features = store.read(key, [sample.sample_id for sample in parts.val])
    logit, y = head.logits(features), np.array([sample.label for sample in parts.val])
    loss = np.logaddexp(0, np.where(y == 1, -logit, logit)).mean()
    assert loss == pytest.approx(result.epochs[result.best_epoch].val_loss, abs=1e-5)


def test_the_scores_are_those_of_the_training_graph(
    done: tuple[FinetuneResult, FeatureStore, Path],
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = {}

    def write(out: Path, run: str, tuner: object, graph: nn.Module, *rest: object) -> object:
        rows = [s for s in manifest if s.split == "test"]
        batch = next(data.load_batches(rows, data.view_of("clean", 0, 0), pre, 64, pool))
        with torch.no_grad():
            values = graph(torch.from_numpy(batch.pixels)).double().numpy()
        seen.update(zip((s.sample_id for s in rows), values, strict=True))
        return original(out, run, tuner, graph, *rest)  # type: ignore[arg-type]

    from concurrent.futures import ThreadPoolExecutor

    from featcache.backbones import preprocessing_of
    from featcache.evaluate import load_scores
    from featcache.finetune import run as module

    original, pre = module.write_weights, preprocessing_of(resolve("tiny#random3"), "univfd")
    monkeypatch.setattr(module, "write_weights", write)
    options = replace(OPTIONS, lora=2, epochs=1)
    with ThreadPoolExecutor(2) as pool:
        result = finetune(
            manifest, FeatureStore(tmp_path / "s"), options, tmp_path / "l.safetensors"
        )
    scores = load_scores(Path(result.results[1]))
    assert len(scores.logit) == len(seen) == 64
    for name, logit in zip(scores.sample_id, scores.logit, strict=True):
        assert logit == pytest.approx(seen[name], abs=1e-5)
    before, after = base_state(), load_file(tmp_path / "l.safetensors")
    assert set(before) == set(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert result.best_epoch == 1
    assert {name.split(".")[2] for name in changed} == {"0", "1", "2"}
    assert {name.split(".")[3] for name in changed} == {"attn", "mlp"}
    assert all(name.endswith(".weight") for name in changed)


def test_training_starts_where_the_frozen_probe_ended(manifest: Manifest, tmp_path: Path) -> None:
    options = replace(OPTIONS, start="probe", augment="univfd-train", blocks=0, epochs=1)
    store = FeatureStore(tmp_path / "s")
    result = finetune(manifest, store, options, tmp_path / "w.safetensors")
    parts = split_manifest(manifest, OPTIONS.train, OPTIONS.val_fraction, OPTIONS.seed)
    head = load_head(Path(result.results[0]) / "head.safetensors")
    features = store.read(store.find("tiny#random3"), [s.sample_id for s in parts.val])
    logit, y = head.logits(features), np.array([sample.label for sample in parts.val])
    loss = np.logaddexp(0, np.where(y == 1, -logit, logit)).mean()
    assert result.epochs[0].val_loss == pytest.approx(loss, abs=1e-5)
    before, after = base_state(), load_file(tmp_path / "w.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)  # --blocks 0


def test_both_heads_are_judged_on_the_same_samples(
    done: tuple[FinetuneResult, FeatureStore, Path],
) -> None:
    result = done[0]
    frozen, tuned = (load_result(Path(folder)) for folder in result.results)
    assert (frozen.head, tuned.head) == ("logistic", "fine-tuned (last block)")
    assert frozen.train == tuned.train == result.tuned.train
    assert frozen.train.n_real + frozen.train.n_fake == result.n_train == 24
    assert frozen.keys[0]["weights"] != tuned.keys[0]["weights"] == result.weights_id
    for metric, outcome in result.comparisons.items():
        assert set(outcome.generators) == {"progan", "biggan"}
        assert outcome.unseen is not None
        for name, entry in outcome.generators.items():
            pair = [getattr(run.generators[name], metric) for run in (result.tuned, result.frozen)]
            assert entry.difference == pytest.approx(pair[0] - pair[1])
        assert outcome.unseen.difference == outcome.generators["biggan"].difference


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    done: tuple[FinetuneResult, FeatureStore, Path],
    manifest: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, out = FeatureStore(tmp_path / "store"), tmp_path / "w.safetensors"
    options, passes = replace(OPTIONS, workers=3), []

    def stop(number: int, *rest: object) -> float:
        passes.append(number)
        if number == 2 and passes.count(2) == 1:
            raise KeyboardInterrupt
        return original(number, *rest)  # type: ignore[arg-type]

    original = train._pass
    monkeypatch.setattr(train, "_pass", stop)
    with pytest.raises(KeyboardInterrupt):
        finetune(manifest, store, options, out)
    (checkpoint,) = (tmp_path / "store" / "finetune").glob("*/*")
    assert not out.exists()
    result = finetune(manifest, store, options, out)
    assert passes == [1, 2, 2, 3, 4]  # epoch 1 was not done again
    assert out.read_bytes() == done[2].read_bytes()
    assert not checkpoint.exists()
    assert [e.val_loss for e in result.epochs] == [e.val_loss for e in done[0].epochs]


def test_a_damaged_checkpoint_is_an_error_that_says_what_to_do(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(number: int, *rest: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "_pass", stop)
    store, out = FeatureStore(tmp_path / "store"), tmp_path / "w.safetensors"
    with pytest.raises(KeyboardInterrupt):
        finetune(manifest, store, OPTIONS, out)
    (checkpoint,) = (tmp_path / "store" / "finetune").glob("*/*")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-4])
    with pytest.raises(StoreError, match="Delete it to train from the start"):
        finetune(manifest, store, OPTIONS, out)


def test_what_is_done_is_not_done_again_and_nothing_is_overwritten(
    done: tuple[FinetuneResult, FeatureStore, Path],
    manifest: Manifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result, store, out = done
    monkeypatch.setattr("featcache.finetune.run.train", None)
    again = finetune(manifest, store, OPTIONS, out)
    assert again.reused
    # As text: NaN differs from itself.
    assert str(again.to_dict()["comparisons"]) == str(result.to_dict()["comparisons"])
    assert again.results == result.results
    with pytest.raises(SettingsError, match="is not the result of this very run"):
        finetune(manifest, store, replace(OPTIONS, seed=1), out)
    about = read_metadata(out)
    assert about is not None
    assert about["base"] == "random:3"
    assert about["recipe"]["lr"] == 1e-2


def test_frozen_and_tuned_features_of_one_name_are_told_apart(
    manifest: Manifest, tmp_path: Path
) -> None:
    """Without a seed in the name, the tuned features are found under the name of the frozen."""
    torch.manual_seed(0)
    base = write_checkpoint(tmp_path / "base.safetensors", "tiny", create(), {})
    options = replace(OPTIONS, backbone="tiny", weights={"tiny": base}, epochs=1, n_resamples=10)
    store, out = FeatureStore(tmp_path / "store"), tmp_path / "w.safetensors"
    first = finetune(manifest, store, options, out)
    assert [key.name for key in store.list_keys()] == ["tiny", "tiny"]
    again = finetune(manifest, store, options, out)
    assert again.reused
    assert (again.frozen.keys, again.tuned.keys) == (first.frozen.keys, first.tuned.keys)
    assert first.frozen.keys[0]["weights"] != first.tuned.keys[0]["weights"] == first.weights_id
    assert str(again.to_dict()["comparisons"]) == str(first.to_dict()["comparisons"])


def test_test_images_are_never_trained_on(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Sample] = []

    def load(sample: Sample, *rest: object) -> object:
        seen.append(sample)
        return original(sample, *rest)  # type: ignore[arg-type]

    original = data.load
    monkeypatch.setattr(data, "load", load)
    store = FeatureStore(tmp_path / "store")
    finetune(manifest, store, replace(OPTIONS, epochs=1), tmp_path / "w.safetensors")
    assert {(sample.split, sample.paired_with) for sample in seen} == {("train", "progan")}
    counts = {sample.sample_id: seen.count(sample) for sample in seen}
    parts = split_manifest(manifest, OPTIONS.train, OPTIONS.val_fraction, OPTIONS.seed)
    assert {counts[s.sample_id] for s in parts.train} == {1}  # one epoch
    assert {counts[s.sample_id] for s in parts.val} == {2}  # before it and after it
    assert not {s.sample_id for s in manifest if s.split == "test"} & set(counts)


def photograph(number: int, label: int, source: str) -> Sample:
    name = f"{number}-{label}"
    return Sample(
        dataset="d",
        root="/d",
        path=f"/d/{name}",
        label=label,
        generator="progan" if label else "real",
        paired_with="progan",
        family="GAN",
        split="train",
        source=source,
        sample_id=name,
    )


def test_a_photograph_is_never_divided() -> None:
    rows = [photograph(i, label, f"p{i // 2}") for i in range(40) for label in (0, 1)]
    parts = split_manifest(Manifest(tuple(rows)), [], 0.25, 0)
    train_, val = ({s.source for s in part} for part in (parts.train, parts.val))
    assert not train_ & val
    assert (len(train_), len(val)) == (15, 5)
    assert split_manifest(Manifest(tuple(reversed(rows))), [], 0.25, 0) == parts
    assert split_manifest(Manifest(tuple(rows)), [], 0.25, 1).val != parts.val
    with pytest.raises(DataError, match="After holding out"):
        split_manifest(Manifest(tuple(rows[:4])), [], 0.25, 0)


def test_each_epoch_has_its_own_order_and_augmentation(manifest: Manifest) -> None:
    rows = list(manifest)
    first, second = data.shuffled(rows, 1, 0), data.shuffled(rows, 2, 0)
    assert first != second
    assert sorted(s.path for s in first) == sorted(s.path for s in second)
    assert first == data.shuffled(rows, 1, 0) != data.shuffled(rows, 1, 5)
    replicates = [
        data.load(rows[0], data.view_of("univfd-train", e, 0), TINY.native) for e in (0, 1)
    ]
    assert not np.array_equal(*replicates)


def test_a_file_that_changed_stops_the_training(manifest: Manifest) -> None:
    sample = replace(next(iter(manifest)), sample_id="0" * 32)
    with pytest.raises(DataError, match="changed since it was scanned"):
        data.load(sample, data.view_of("clean", 0, 0), TINY.native)
    with pytest.raises(DataError, match="cannot be read"):
        data.load(replace(sample, path="/none"), data.view_of("clean", 0, 0), TINY.native)


@pytest.mark.parametrize(
    "wrong",
    [
        {"blocks": -1},
        {"lora": 0},
        {"lora": 2, "blocks": 0},
        {"epochs": 0},
        {"lr": 0.0},
        {"augment": "blur:1"},
        {"start": "one"},
        {"val_fraction": 0.9},
        {"precision": "fp16"},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="--"):
        FinetuneOptions(backbone="clip", **wrong)  # type: ignore[arg-type]
