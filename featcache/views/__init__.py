"""Views: named chains of image perturbations, pure and repeatable, part of every feature's key."""

from featcache.views.view import (
    CLEAN,
    STEPS,
    Arg,
    Params,
    Step,
    StepKind,
    View,
    describe_steps,
    parse_views,
)

__all__ = [
    "CLEAN",
    "STEPS",
    "Arg",
    "Params",
    "Step",
    "StepKind",
    "View",
    "describe_steps",
    "parse_views",
]
