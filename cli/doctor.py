"""``featcache doctor``: is this machine fit for the work?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from featcache.cli import _options as opt
from featcache.cli import _output as out

if TYPE_CHECKING:
    from featcache.doctor import CheckResult

MARKS = {"ok": "ok", "warning": "!", "problem": "FAILED"}


def doctor(
    cache: opt.Cache = None,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
    quiet: opt.Quiet = False,
) -> int:
    """Check packages, device, weights, disk and store, and print how to fix problems."""
    from featcache.doctor import run_checks
    from featcache.settings import load_settings

    out.start_logging(verbose, quiet)
    findings = run_checks(load_settings(cache=cache).cache)
    failed = any(finding.state == "problem" for finding in findings)
    if json:
        out.print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        _show(findings)
    return 5 if failed else 0


def _show(findings: Sequence[CheckResult]) -> None:
    rows = [[f.topic, MARKS[f.state], f.detail, f.fix] for f in findings]
    out.print_table(["topic", "state", "found", "fix"], rows)
