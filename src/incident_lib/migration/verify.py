"""Is the target's index the only one enforced, by definition and flags?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.migration.executor import UNCONFIRMED
from incident_lib.model import Catalog, Check, IndexKind, Status, change_command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.model import StepResult, UniqueIndex


def verify_catalog(catalog: Catalog, target: IndexKind = IndexKind.FIXED) -> tuple[Check, ...]:
    """Check the catalog against a target.

    Returns:
        A check for each condition; the change has been made where none of them fails.
    """
    label = catalog.change.label(target)
    kinds = [target, IndexKind.FINER] if target is IndexKind.FIXED else [target]
    there = [index for index in catalog.relevant_indexes if index.kind in kinds]
    wanted = [index for index in there if index.usable and (index.kind is target or catalog.is_followed(target))]
    others = [index for index in catalog.relevant_indexes if index.kind not in kinds]
    invalid = [index for index in there if index.kind is target and not index.usable]
    plan = change_command("plan", "", catalog.change.name)
    return (
        _check(
            "definition",
            bool(wanted),
            f"{', '.join(i.name for i in wanted)} is the {wanted[0].label if wanted else label} index, by columns, "
            "predicate and uniqueness",
            f"no index is the {label} index, complete and enforced",
            plan,
        ),
        _check(
            "other indexes",
            not others,
            "no other unique index is there",
            "; ".join(f"{i.name} ({i.label}: {i.flags()})" for i in others),
            plan,
        ),
        *([_validity(invalid, plan)] if there else []),
    )


def _validity(invalid: Sequence[UniqueIndex], plan: str) -> Check:
    found = "; ".join(f"{index.name} is {index.flags()}" for index in invalid)
    return _check("validity", not invalid, "valid, ready and live", found, plan)


def verify_commits(steps: Sequence[StepResult]) -> tuple[Check, ...]:
    """Check that synchronous standbys confirmed the steps' commits; no check where all of them were confirmed."""
    names = dict.fromkeys(step.name for step in steps if UNCONFIRMED in step.outcome)
    if not names:
        return ()
    finding = f"no synchronous standby confirmed the commit of {', '.join(names)}: a failover now may undo it"
    action = "Start the standbys. After a failover, run `incident verify` on the new primary."
    return (Check("commits", Status.WARN, finding, action),)


def enforced_alone(catalog: Catalog, target: IndexKind) -> str:
    """Which index is the only one enforced, once nothing is left to do, in words."""
    kind = IndexKind.FINER if catalog.is_followed(target) else target
    label = catalog.change.label(kind) if kind is target else kind.value
    return f"only the {label} index is enforced"


def holds(checks: tuple[Check, ...]) -> bool:
    """Whether none of the checks failed."""
    return all(check.status is not Status.FAIL for check in checks)


def _check(name: str, passes: bool, good: str, bad: str, plan: str) -> Check:
    if passes:
        return Check(name, Status.PASS, good)
    return Check(name, Status.FAIL, bad, f"Run `{plan}`: it shows what is left to do.")
