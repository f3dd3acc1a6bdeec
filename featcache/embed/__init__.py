"""Maps of the feature space, and how far it is separated in all its dimensions."""

from featcache.embed.projection import METHODS
from featcache.embed.run import EmbedOptions, embed

__all__ = ["METHODS", "EmbedOptions", "embed"]
