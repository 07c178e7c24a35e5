"""Why there is no plan from what the catalog holds: what this project does not take, each with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from incident_lib.migration.steps import OTHER_KIND, preference
from incident_lib.model import SIDES, IndexKind

if TYPE_CHECKING:
    from incident_lib.model import Catalog, UniqueIndex


class Refusal(NamedTuple):
    """Why there is no plan.

    Attributes:
        first: the command and the change that come first, as `apply` and its name; None: nothing does.
    """

    text: str
    first: tuple[str, str] | None = None


def refusal(catalog: Catalog, target: IndexKind) -> Refusal | None:
    """The first reason why there is no plan; None: there is one."""
    return (
        _unreadable(catalog)
        or _neighbours(catalog, target)
        or _taken_names(catalog, target)
        or _constraint(catalog, target)
        or _bound(catalog, target)
        or _no_name(catalog)
    )


def _unreadable(catalog: Catalog) -> Refusal | None:
    """An index that is enforced and of neither kind, and what can be done about it."""
    if not catalog.unreadable:
        return None
    original, fixed = map(catalog.change.label, SIDES)
    found = "; ".join(
        f"{index.name} is enforced and is neither the {original} nor the {fixed} index: {index.differences()}"
        for index in catalog.unreadable
    )
    known = [index.name for index in catalog.relevant_indexes if index.kind in SIDES and index.usable]
    if known:
        return Refusal(
            f"{found}; if {known[0]}, which is enforced beside it, is enough, drop the other, then run this again"
        )
    return Refusal(
        f"{found}; it may be the only index that prevents duplicates, so keep it until {_article(original)} {original} "
        f"or {_article(fixed)} {fixed} index is enforced beside it"
    )


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _neighbours(catalog: Catalog, target: IndexKind) -> Refusal | None:
    """An index of the change before this one, or of the one after it."""
    change = catalog.change
    if change.previous and (found := catalog.of(IndexKind.COARSER)):
        text = f"{found[0].name} has the key {change.previous.key}: the change {change.previous.change} is not applied"
        return Refusal(f"{text} yet; apply {change.previous.change} first", ("apply", change.previous.change))
    if change.following and target is IndexKind.ORIGINAL and (found := catalog.of(IndexKind.FINER)):
        later = change.following.change
        text = f"{found[0].name} has the key {change.following.key}: the change {later} is applied, or begun"
        return Refusal(f"{text}; roll it back first", ("rollback", later))
    return None


def _taken_names(catalog: Catalog, target: IndexKind) -> Refusal | None:
    """The official name, which something else has; of a partitioned table, also one of the others."""
    is_needed = catalog.change.index in catalog.strangers or catalog.partitions is not None
    return name_taken(catalog) if catalog.strangers and is_needed and not catalog.is_followed(target) else None


def name_taken(catalog: Catalog) -> Refusal:
    """Names of the change are taken, and it needs one of them."""
    held = "; ".join(f"{name} is {what}" for name, what in sorted(catalog.strangers.items()))
    return Refusal(f"a name that the plan needs is taken ({held}); rename what has it")


def _constraint(catalog: Catalog, target: IndexKind) -> Refusal | None:
    """The change and the catalog differ in whether the index backs a constraint."""
    change = catalog.change
    if change.constraint and catalog.partitions is not None:
        return Refusal("the table is partitioned: a UNIQUE constraint of such a table is not changed by this project")
    if change.constraint:
        plain = [i for i in _built(catalog, IndexKind.ORIGINAL) if i.name == change.index and not i.constraint]
        if plain and target is IndexKind.FIXED and not _built(catalog, IndexKind.FIXED):
            return Refusal(f"{change.index} backs no constraint; write constraint = false in {change.name}")
        return None
    backing = [index for index in (*catalog.of(IndexKind.ORIGINAL), *catalog.of(IndexKind.FIXED)) if index.constraint]
    if backing and "it is the primary key" not in backing[0].bound:
        return Refusal(f"{backing[0].name} backs a UNIQUE constraint; write constraint = true in {change.name}")
    return None


def _built(catalog: Catalog, kind: IndexKind) -> list[UniqueIndex]:
    """The indexes of a kind that are complete, or will be: another session is building them."""
    return [index for index in catalog.of(kind) if index.usable or index.builder]


def _bound(catalog: Catalog, target: IndexKind) -> Refusal | None:
    """Something else depends on an index that the plan would drop."""
    keep = min((i for i in catalog.of(target) if i.usable), key=preference, default=None)
    for index in (*catalog.of(OTHER_KIND[target]), *catalog.of(target)):
        if index is not keep and index.bound:
            return Refusal(f"{index.name} cannot be replaced: {'; '.join(index.bound)}; {_advice(index)}")
    return None


def _advice(index: UniqueIndex) -> str:
    if any("foreign key" in phrase for phrase in index.bound):
        return "a foreign key needs a unique index of its own columns: keep this one, or change the foreign key first"
    if any("it is a part of" in phrase for phrase in index.bound):
        return "make the change on that table"
    if any("names its constraint" in phrase for phrase in index.bound):
        return "change it to ON CONFLICT DO NOTHING without a key first: PostgreSQL drops no constraint that it names"
    return "write a migration of your own for it"


def _no_name(catalog: Catalog) -> Refusal | None:
    """Of a partitioned table, no incomplete index may go: partitions may be guarded by it alone."""
    indexes = [index for index in catalog.relevant_indexes if index.kind in SIDES]
    is_full = {index.name for index in indexes} >= set(catalog.change.names)
    if catalog.partitions is not None and is_full and not any(index.usable for index in indexes):
        return Refusal(
            "the three names are taken by unique indexes of which none is complete; drop one that is not enforced"
        )
    return None
