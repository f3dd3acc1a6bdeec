"""What is asked for: backbone x preset x precision x view, each with the key of its features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from PIL import Image

from featcache.backbones import (
    BackboneSpec,
    Preprocessing,
    feature_fields,
    precision_of,
    preprocessing_of,
)
from featcache.cache import FeatureKey
from featcache.extract.options import ExtractOptions
from featcache.hashing import canonical_json
from featcache.views import View, parse_views


@dataclass(frozen=True)
class Request:
    """One kind of feature that is asked for.

    Parameters
    ----------
    spec : BackboneSpec
    preprocessing : Preprocessing
    precision : str
    view : View
    key : FeatureKey
        Identity of the features.
    """

    spec: BackboneSpec
    preprocessing: Preprocessing
    precision: str
    view: View
    key: FeatureKey

    @property
    def id(self) -> str:
        """Name of the request within a run: the key's fingerprint."""
        return self.key.fingerprint

    @cached_property
    def stream(self) -> str:
        """Name of the pixels that it needs; requests of one stream share them.

        Mean and deviation are not part of it: they are applied on the device.
        """
        pixels = replace(self.preprocessing, preset="", mean=(0, 0, 0), std=(1, 1, 1))
        return canonical_json([self.view.to_key(), pixels.to_key()])

    @cached_property
    def network(self) -> str:
        """Name of the network that it runs; requests of one network share its weights."""
        return canonical_json([self.spec.network, self.key.fields["weights"], self.precision])

    def prepare(self, image: Image.Image, sample_id: str) -> tuple[Any, bool]:
        """Return the pixels (size, size, 3) uint8, and whether the image was padded."""
        seen = self.view(image, sample_id)
        return self.preprocessing(seen), self.preprocessing.pads(*seen.size)


def make_requests(specs: Iterable[BackboneSpec], options: ExtractOptions) -> list[Request]:
    """Return one request for each backbone and view, each key once, in the order asked for.

    Raises
    ------
    WeightsError
        If the weights are missing: features of unknown origin are not made.
    SettingsError
        If there is no such view or preset.
    """
    views = parse_views(options.views)
    made = (_request(spec, view, options) for spec in specs for view in views)
    return list({request.id: request for request in made}.values())


def _request(spec: BackboneSpec, view: View, options: ExtractOptions) -> Request:
    precision = precision_of(spec, options.precision, options.device)
    fields = feature_fields(spec, options.preset, precision)
    fields |= {"dtype": "float32", "view": view.to_key()}
    preprocessing = preprocessing_of(spec, options.preset)
    return Request(spec, preprocessing, precision, view, FeatureKey(fields))
