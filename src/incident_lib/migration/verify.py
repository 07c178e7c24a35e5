"""Has the fix been applied, by definition and flags; and does PostgreSQL admit and reject accordingly?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from incident_lib.migration.executor import UNCONFIRMED
from incident_lib.model import Catalog, Check, IndexKind, IndexState, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from incident_lib.migration.probe import Probe
    from incident_lib.model import StepResult

TRY_AGAIN = "Try again when the table is less busy."


def verify_catalog(catalog: Catalog, target: IndexKind = IndexKind.FIXED) -> tuple[Check, ...]:
    """Check the catalog against a target.

    Returns:
        A check for each condition; the fix has been applied where none of them fails.
    """
    wanted = [index for index in catalog.of(target) if index.usable]
    others = [index for index in catalog.family_indexes if index.kind is not target]
    invalid = [index for index in catalog.of(target) if not index.usable]
    return (
        _check(
            "definition",
            bool(wanted),
            f"{', '.join(i.name for i in wanted)} is the {target} index, by columns, predicate and uniqueness",
            f"no index is the {target} index, complete and enforced",
        ),
        _check(
            "alone",
            not others,
            "no other unique index is there",
            "; ".join(f"{i.name} ({i.kind}: {i.flags()})" for i in others),
        ),
        _check(
            "flags",
            not invalid,
            "valid, ready and live",
            "; ".join(f"{index.name} is {index.flags()}" for index in invalid),
        ),
    )


def verify_commits(steps: Sequence[StepResult]) -> tuple[Check, ...]:
    """Check that synchronous standbys confirmed the steps' commits; no check where all of them were confirmed."""
    names = dict.fromkeys(step.name for step in steps if UNCONFIRMED in step.outcome)
    if not names:
        return ()
    finding = f"no synchronous standby confirmed the commit of {', '.join(names)}: a failover now may undo it"
    action = "Start the standbys. After a failover, run `incident verify` on the new primary."
    return (Check("commits", Status.WARN, finding, action),)


def verify_probes(before: Probe | None, after: Probe) -> Check:
    """Check that what was rejected before is admitted now."""
    more = f"; before: {before}" if before else ""
    return _probed(after, wrong=after.rejected, more=more, name="probe")


def verify_semantics(probes: tuple[Probe, Probe, Probe]) -> tuple[Check, ...]:
    """Check that chat and run coexist, and that a second chat and a second run do not."""
    beside, *seconds = probes
    if not beside.attempts:
        return (Check("probe", Status.INFO, "no family has a run and no chat: nothing could be probed"),)
    return (_probed(beside, wrong=beside.rejected), *(_probed(probe, wrong=probe.admitted) for probe in seconds))


def _probed(probe: Probe, *, wrong: int, more: str = "", name: str = "") -> Check:
    """One probe's check: FAIL where an answer was wrong, INFO where there was no answer."""
    said = str(probe) if name else str(probe).removeprefix(f"{probe.purpose}: ")  # the check has that name already
    finding, name = f"{said}{more}", name or probe.purpose
    if probe.not_probed == probe.attempts:
        return Check(name, Status.INFO, f"{finding}: nothing could be probed", TRY_AGAIN)
    return _check(name, not wrong, finding, finding)


def holds(checks: tuple[Check, ...]) -> bool:
    """Whether none of the checks failed."""
    return all(check.status is not Status.FAIL for check in checks)


def is_fixed(catalog: Catalog) -> bool:
    """Whether the fixed index alone is enforced."""
    return catalog.state is IndexState.FIXED and holds(verify_catalog(catalog))


def _check(name: str, passes: bool, good: str, bad: str) -> Check:
    if passes:
        return Check(name, Status.PASS, good)
    return Check(name, Status.FAIL, bad, "Run `incident plan`: it shows what is left to do.")
