"""Expands a request's spec and arguments into a job chain, and describes chains as plans."""

from spincycle.graph.chain_builder import Limits
from spincycle.graph.expansion import Expander, Expansion
from spincycle.graph.job_ids import JobIds
from spincycle.graph.plan import Plan, PlanNode, make_plan
from spincycle.graph.plan_hash import plan_hash
from spincycle.graph.request_args import CheckedArgs, check_args, declared_args, find_request

__all__ = [
    "CheckedArgs",
    "Expander",
    "Expansion",
    "JobIds",
    "Limits",
    "Plan",
    "PlanNode",
    "check_args",
    "declared_args",
    "find_request",
    "make_plan",
    "plan_hash",
]
