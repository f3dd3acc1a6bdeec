"""Several backbones, or several views, in one pass over the files.

``sum``: the times of the passes on their own, added up. ``sum of forwards``: only their forward
passes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from benchmarks.data import Bench, make_jpegs
from benchmarks.frame import Report, Result, in_turn, median_ratio, parser, seconds

BACKBONES = ("efficientnet-lite0", "timm:resnet18#random0", "timm:mobilenetv3_small_100#random0")
VIEWS = ("clean", *(f"jpeg:{quality}" for quality in range(50, 95, 5)))


def several_backbones(n: int, rounds: int, folder: Path) -> Report:
    """Measure three backbones together, each on its own, and their bare forward passes."""
    manifest = make_jpegs(folder / "images", n)
    together = Bench(BACKBONES, manifest, folder)
    alone = [Bench([name], manifest, folder) for name in BACKBONES]
    cases = {"one pass": lambda: seconds(together)}
    for name, bench in zip(BACKBONES, alone, strict=True):
        cases[name] = lambda bench=bench: seconds(bench)  # type: ignore[misc]
        cases[f"{name}, forward"] = lambda bench=bench: seconds(  # type: ignore[misc]
            lambda: bench.forward_in_lanes(n)
        )
    found = in_turn(cases, rounds)
    passes = [sum(values) for values in zip(*(found[name] for name in BACKBONES), strict=True)]
    forwards = [
        sum(values)
        for values in zip(*(found[f"{name}, forward"] for name in BACKBONES), strict=True)
    ]
    report = Report("passes", f"{len(BACKBONES)} backbones over {n} JPEG files", rounds=found)
    one = found["one pass"]
    report.results = [
        Result("one pass / sum of its forwards", median_ratio(one, forwards), "", target=1.03),
        Result("one pass / sum of three passes", median_ratio(one, passes), ""),
    ]
    return report


def several_views(n: int, rounds: int, folder: Path) -> Report:
    """Measure ten views together and in ten runs, and count how often files are decoded."""
    from featcache.extract import loading

    manifest = make_jpegs(folder / "images", n)
    name = [BACKBONES[2]]
    together = Bench(name, manifest, folder, views=VIEWS)
    alone = [Bench(name, manifest, folder, views=(view,)) for view in VIEWS]
    cases = {
        "ten views": lambda: seconds(together),
        "ten runs": lambda: sum(seconds(bench) for bench in alone),
    }
    found = in_turn(cases, rounds)
    with mock.patch.object(loading, "decode", wraps=loading.decode) as decode:
        together()
    ratio = median_ratio(found["ten views"], found["ten runs"])
    report = Report("views", f"10 views of {n} JPEG files, {name[0]}", rounds=found)
    report.results = [
        Result("ten views / ten runs", ratio, ""),
        Result("decodes per file", decode.call_count / n, "", target=1.0),
    ]
    return report


def main() -> None:
    """Measure both."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("-n", type=int, default=128, help="files")
    flags = arguments.parse_args()
    for measure in (several_backbones, several_views):
        with tempfile.TemporaryDirectory() as folder:
            measure(flags.n, flags.rounds, Path(folder)).show(flags.out)


if __name__ == "__main__":
    main()
