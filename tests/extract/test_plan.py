"""Plans: cuts that do not move, parts that cover everything once, one item for what has the same
samples.
"""

from __future__ import annotations

import hashlib
import random

import pytest

from featcache.datasets import Manifest, Sample
from featcache.errors import SettingsError
from featcache.extract import group, parse_part, plan


def manifest_of(n: int) -> Manifest:
    ids = [hashlib.md5(str(i).encode()).hexdigest() for i in range(n)]
    return Manifest(tuple(sample(name, f"/images/{i}.png") for i, name in enumerate(ids)))


def sample(name: str, path: str) -> Sample:
    return Sample(
        dataset="toy",
        root="/images",
        path=path,
        label=0,
        generator="real",
        paired_with="g",
        family="g",
        split="train",
        source=name,
        sample_id=name,
    )


def planned(work: object) -> list[str]:
    return [name for job in work.jobs for name, _ in job.samples]  # type: ignore[attr-defined]


def test_a_plan_has_every_sample_once_in_full_shards() -> None:
    data = manifest_of(95)
    work = plan(data, [], 10)
    assert sorted(planned(work)) == planned(work) == sorted(s.sample_id for s in data)
    assert [len(job.samples) for job in work.jobs] == [10] * 9 + [5]


def test_what_is_left_is_cut_as_before_whatever_shards_are_done() -> None:
    data = manifest_of(95)
    full = plan(data, [], 10)
    rng = random.Random(0)
    for _ in range(20):
        finished = rng.sample(full.jobs[:-1], 4)
        known = [name for job in finished for name, _ in job.samples]
        rest = plan(data, known, 10)
        assert list(rest.jobs) == [job for job in full.jobs if job not in finished]


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_the_parts_cover_the_plan_once_and_evenly_even_while_others_are_done(n: int) -> None:
    data = manifest_of(131)
    full = plan(data, [], 10)
    known: list[str] = []
    sizes = []
    for i in range(1, n + 1):
        part = plan(data, known, 10, (i, n))
        assert part.jobs == plan(data, [], 10, (i, n)).jobs
        sizes.append(len(part.jobs))
        known += planned(part)
    assert sorted(known) == sorted(planned(full))
    assert max(sizes) - min(sizes) <= 1


def test_jobs_of_the_same_samples_become_one_item() -> None:
    data = manifest_of(40)
    full = plan(data, [], 10)
    later = plan(data, [name for name, _ in full.jobs[0].samples], 10)
    items = group({"a": full, "b": later, "c": full})
    assert [item.requests for item in items] == [("a", "c")] + [("a", "b", "c")] * 3
    assert [item.job for item in items] == list(full.jobs)


def test_jobs_of_other_samples_stay_apart() -> None:
    data = manifest_of(40)
    full = plan(data, [], 10)
    odd = plan(data, [full.jobs[0].samples[0][0]], 10)
    items = group({"a": full, "b": odd})
    assert {len(item.requests) for item in items} == {1}
    assert len(items) == len(full.jobs) + len(odd.jobs)


def test_parts_are_numbered_from_one() -> None:
    assert parse_part("3/8") == (3, 8)
    for text in ("0/8", "9/8", "1", "1/0", "a/b", "-1/2", "1/2/3"):
        with pytest.raises(SettingsError, match="1/8 to 8/8"):
            parse_part(text)
