"""The panel: labelled, validated data in which nothing is known before its time."""

from bayesfactor.panel import datasets, simulate
from bayesfactor.panel.arrays import PanelArrays
from bayesfactor.panel.panel import Panel
from bayesfactor.panel.reading import read_frame

__all__ = ["Panel", "PanelArrays", "datasets", "read_frame", "simulate"]
