"""The Ray engine: the bytes of the local engine, also when a worker or a whole node is lost on
the way.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcache.backbones import BACKBONES, BackboneSpec
from featcache.cache import FeatureStore
from featcache.datasets import Manifest, ScanOptions, scan_into
from featcache.engines import open_engine
from featcache.engines.on_ray import RayEngine, shape_for
from featcache.errors import FeatcacheError, ResourceError, SettingsError
from featcache.extract import ExtractOptions, extract
from featcache.testing import make_tree

ray = pytest.importorskip("ray", reason="the ray extra is not installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Ray's own, at import and at shutdown
    pytest.mark.skipif(sys.platform != "linux", reason="kills processes as Linux does"),
]

OPTIONS = ExtractOptions(device="cpu", shard_rows=6, batch_size=4, workers=1)
RAY = replace(OPTIONS, engine="ray", processes=2)


@pytest.fixture(autouse=True)
def _by_value() -> None:
    """Let workers, which cannot import this file, get its functions whole."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def squares(folder: Path, deadly: Sequence[int], times: int) -> Callable[[Any], Iterator[int]]:
    """Return work that kills its own process at some items, the first few times that it meets
    them.
    """

    def work(items: Sequence[int]) -> Iterator[int]:
        for item in items:
            if item in deadly and not may_live(folder, f"{item}", times):
                os.kill(os.getpid(), signal.SIGKILL)
            if item == 13:
                raise ResourceError("no luck")
            yield item * item

    return work


def may_live(folder: Path, name: str, times: int) -> bool:
    """Return False the first ``times`` times, whoever asks."""
    for i in range(times):
        try:
            (folder / f"{name}-{i}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return False
    return True


def slow_network(folder: Path | None) -> Any:
    """Return a small network that kills its process once, in the middle of the run."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.arange(12.0).reshape(4, 3) / 7)
            self.calls = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if folder is not None:
                time.sleep(0.02)
                if self.calls == 3 and not may_live(folder, "network", 1):
                    os.kill(os.getpid(), signal.SIGKILL)
            return torch.tanh(images.mean(dim=(2, 3)) @ self.weight.T)

    return Net()


def spec_in(folder: Path, *, deadly: bool) -> BackboneSpec:
    weights = folder / "weights"
    weights.write_bytes(b"twelve sevenths")
    build = partial(lambda where, path: slow_network(where), folder if deadly else None)
    return replace(
        BACKBONES.get("efficientnet-lite0"), name="small", network="small", n_features=4,
        find_weights=lambda: weights, build=build,
    )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Manifest:
    root = make_tree(tmp_path / "toy", n=9)
    return scan_into(tmp_path / "scan", root, ScanOptions()).manifest


def shards(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.h5")}


def test_actors_fill_the_cluster() -> None:
    assert shape_for([{"CPU": 64.0, "GPU": 8.0}, {"CPU": 8.0}], 0).n == 8
    assert shape_for([{"CPU": 4.0}, {"CPU": 12.0}], 0).cores == 8
    assert shape_for([{"CPU": 4.0, "GPU": 2.0}], 1).gpus == 1
    with pytest.raises(ResourceError, match="no core"):
        shape_for([{"memory": 1.0}], 0)


def test_a_cluster_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", lambda **options: (_ for _ in ()).throw(ConnectionError("no")))
    engine = open_engine("ray", address="127.0.0.1:1")
    with pytest.raises(SettingsError, match="ray start --head"):
        list(engine.run(lambda: iter, [1]))


@pytest.mark.slow
def test_results_losses_and_errors(tmp_path: Path) -> None:
    """In one cluster, because starting one takes seconds."""
    engine = RayEngine(2)
    ray.init(address="local", num_cpus=2, include_dashboard=False)
    try:
        items = [*range(10), *range(20, 40)]
        once = dict(engine.run(partial(squares, tmp_path, (7, 25), 1), items))
        assert once == {item: item * item for item in items}
        with pytest.raises(ResourceError, match="3 workers were lost over the same work"):
            list(engine.run(partial(squares, tmp_path, (30,), 9), items))
        with pytest.raises(FeatcacheError, match="no luck"):
            list(engine.run(partial(squares, tmp_path, (), 0), [12, 13, 14]))
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_two_workers_one_of_them_killed_end_in_the_bytes_of_the_local_engine(
    data: Manifest, tmp_path: Path
) -> None:
    local, cluster = tmp_path / "local", tmp_path / "cluster"
    extract(data, [spec_in(tmp_path, deadly=False)], FeatureStore(local), OPTIONS)
    (summary,) = extract(data, [spec_in(tmp_path, deadly=True)], FeatureStore(cluster), RAY)
    assert (tmp_path / "network-0").exists(), "nobody was killed"
    assert shards(cluster) == shards(local)
    assert len(shards(local)) == 12
    assert summary.run.workers == 2
    assert not ray.is_initialized()


@pytest.mark.slow
def test_two_nodes_one_of_them_lost_end_in_the_bytes_of_the_local_engine(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    # Ray then takes 127.0.0.1 as it is, and does not look for the address that others see.
    monkeypatch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
    local, shared = tmp_path / "local", tmp_path / "shared"
    extract(data, [spec_in(tmp_path, deadly=False)], FeatureStore(local), OPTIONS)
    node = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        second = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
        cluster.wait_for_nodes()
        lost: list[int] = []

        def lose(done: int) -> None:
            if done >= 12 and not lost:
                lost.append(done)
                cluster.remove_node(second, allow_graceful=False)

        with watched(shared, lose):
            extract(
                data, [spec_in(tmp_path, deadly=False)], FeatureStore(shared),
                replace(RAY, address=cluster.address),
            )  # fmt: skip
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert lost, "the node was never lost"
    assert shards(shared) == shards(local)


class watched:
    """Call a function with the number of images done, whenever progress is told."""

    def __init__(self, root: Path, notify: Callable[[int], None]) -> None:
        self.tell, self.done = notify, 0

    def __enter__(self) -> None:
        from featcache.extract import run

        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(run, "progress", self._progress)

    def __exit__(self, *error: object) -> None:
        self.patch.undo()

    def _progress(self, *arguments: object, **keywords: object) -> Any:
        from contextlib import nullcontext

        def advance(n: int = 1, /) -> None:
            self.done += n
            self.tell(self.done)

        return nullcontext(advance)


@pytest.mark.slow
def test_the_sums_of_the_solver_in_actors_give_the_fit_of_one_process() -> None:
    pytest.importorskip("featcache.probes.solver")
    from featcache.probes.solver import AddedSums, HeadBatch, minimise

    heads = HeadBatch(uses=np.ones((2, 1), bool), C=np.array([0.1, 1.0]), task=np.zeros(2, np.intp))
    makes = [partial(rows_of, i) for i in range(3)]
    with open_engine("local").host(makes) as here:
        expected = minimise(AddedSums(here.parts, here.map), heads)
    with open_engine("ray").host(makes) as there:
        result = minimise(AddedSums(there.parts, there.map), heads)
    np.testing.assert_array_equal(result.weight, expected.weight)
    assert np.abs(result.weight).max() > 0.1


def rows_of(part: int) -> Any:
    from featcache.probes.solver import Arrays, RowSums

    rng = np.random.default_rng(part)
    features = rng.standard_normal((200, 8)).astype(np.float32)
    labels = (features[:, 0] + rng.standard_normal(200) > 0).astype(np.int64)
    return RowSums(Arrays([features]), labels[None])
