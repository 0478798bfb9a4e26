"""How sweeps run: a function of one point over a grid, on all devices and hosts, kept in a run directory."""

from sweeps import hosts, plan, plots, threefry
from sweeps.devices import examples
from sweeps.grid import Points, Runs, cross, product
from sweeps.preemption import Preempted
from sweeps.record import DifferentRun, Run, run
from sweeps.store import DamagedCheckpoint
from sweeps.sweep import Job, compute, map, scan

__all__ = [
    "DamagedCheckpoint",
    "DifferentRun",
    "Job",
    "Points",
    "Preempted",
    "Run",
    "Runs",
    "compute",
    "cross",
    "examples",
    "hosts",
    "map",
    "plan",
    "plots",
    "product",
    "run",
    "scan",
]

threefry.mask_rotations()
