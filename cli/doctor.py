"""``featcache doctor``: is this machine fit for the work?"""

from __future__ import annotations

from dataclasses import asdict

from featcache.cli import _options as opt
from featcache.cli import _output as out

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
        rows = [[MARKS[f.state], f.topic, f.detail, f.fix] for f in findings]
        out.print_table(["", "topic", "found", "fix"], rows)
    return 5 if failed else 0
