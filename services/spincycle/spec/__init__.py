"""The spec language: reads and checks YAML files into a spec set."""

from spincycle.spec.call_checks import JobTypeRule
from spincycle.spec.check import CHECKS, Check, Severity
from spincycle.spec.finding import Finding, bounded
from spincycle.spec.loading import LoadResult, check_sources, load_specs
from spincycle.spec.model import Acl, Arg, Args, Node, Position, Sequence
from spincycle.spec.source import Source, fingerprint_of
from spincycle.spec.spec_set import SpecSet

__all__ = [
    "CHECKS",
    "Acl",
    "Arg",
    "Args",
    "Check",
    "Finding",
    "JobTypeRule",
    "LoadResult",
    "Node",
    "Position",
    "Sequence",
    "Severity",
    "Source",
    "SpecSet",
    "bounded",
    "check_sources",
    "fingerprint_of",
    "load_specs",
]
