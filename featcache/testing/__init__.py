"""Help for tests, ours and those of plug-ins: trees of images, checkpoint files, the contract of a
backbone.

Needs no pytest: the checks raise ``AssertionError``.
"""

from featcache.testing.contract import check_backbone
from featcache.testing.fixtures import make_images, make_tree, small

__all__ = ["check_backbone", "make_images", "make_tree", "small"]
