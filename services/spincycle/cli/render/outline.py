"""A plan as an outline: a summary line, then its sequences and jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.cli.live_request import LiveRequest
from spincycle.cli.render.tree import ASCII, UNICODE, Picture, draw_tree

if TYPE_CHECKING:
    from spincycle.cli.render.terminal import Terminal
    from spincycle.v1 import plan_pb2


def plan_lines(plan: plan_pb2.Plan, terminal: Terminal, height: int) -> list[str]:
    """Return the plan in at most `height` lines."""
    live = LiveRequest("")
    live.type = plan.type
    live.set_chain(plan.job_chain)
    picture = Picture(
        width=terminal.columns if terminal.is_screen else 100,
        height=height,
        signs=UNICODE if terminal.unicode else ASCII,
    )
    jobs = "1 job" if plan.work_jobs == 1 else f"{plan.work_jobs} jobs"
    facts = [f"{jobs} to do", f"plan {plan.plan_hash}"]
    if plan.widest:
        facts.insert(1, f"up to {plan.widest} at a time")
    return [
        f"# {plan.type}: {', '.join(facts)}",
        *(
            "".join(terminal.styled(text, style) for text, style in line)
            for line in draw_tree(live, 0.0, picture, height - 1)
        ),
    ]
