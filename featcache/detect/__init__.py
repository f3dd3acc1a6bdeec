"""A trained head in the field: is this image made by a machine, and does the head know such images?"""

from featcache.detect.detector import Detector
from featcache.detect.export import export_onnx
from featcache.detect.prediction import Verdict

__all__ = ["Detector", "Verdict", "export_onnx"]
