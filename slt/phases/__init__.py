"""Stages of curves over training, read off in three ways, and whether two sets of transitions coincide.

`change_points` and `slope_changes` fit a curve in pieces; `milestones` are the plateaus of a Gaussian process through
it; `vertices` and `forms` are read off the curve that a model's outputs draw in the plane of two principal components.
"""

# ruff: noqa: F401
from slt.phases.alignment import Alignment, align, align_shifted
from slt.phases.changes import ChangePoint, SlopeChange, change_points, inflated, slope_changes
from slt.phases.essential_dynamics import Circles, Essential, Form, Vertex, circles, essential, forms, smooth, vertices
from slt.phases.levels import Fall, Jump, Level, fall, flats, jumps
from slt.phases.plateaus import Milestone, Process, Stage, gaussian_process, milestones, slope, stages, value
