"""A trained head in the field: is this image made by a machine, and does the head know such
images?
"""

from featcache.detect.detector import Detector
from featcache.detect.export import export_onnx
from featcache.detect.prediction import Prediction

__all__ = ["Detector", "Prediction", "export_onnx"]
