"""The plan for a partitioned table, from whatever state its indexes and those of its partitions are in."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from incident_lib.migration.plan import catalog_after, plan_change
from incident_lib.model.catalog import Catalog, Partition, UniqueIndex, sort_indexes
from incident_lib.model.change import INDEX_NAME, PURPOSE, SIDES, IndexKind
from tests.support.examples import examples, few_examples

PREDICATE = "((is_active = true) AND (root_prompt_row_id IS NOT NULL))"
ROOT = "public.q_threads"
TABLES = (
    Partition("public", "one", ROOT, leaf=True),
    Partition("parts", "two", ROOT, leaf=True),
    Partition("public", "three", ROOT, leaf=False),
    Partition("public", "four", "public.three", leaf=True),
)
FLAGS = st.sampled_from([(True, True, True), (False, True, True), (False, False, True), (False, False, False)])
KINDS = st.sampled_from([IndexKind.ORIGINAL, IndexKind.FIXED])


def index(kind, name, table=None, flags=(True, True, True), parent=None):
    """A unique index of the table or of a partition."""
    valid, ready, live = flags
    key = PURPOSE.key(kind).parts
    made = UniqueIndex(name, name, key, PREDICATE, True, False, valid, ready, live, parent=parent)
    return replace(made, schema=table.schema, partition=table.path) if table else made


@st.composite
def catalogs(draw):
    """Any catalog: indexes of the table, complete or begun, and of partitions, attached or not."""
    indexes = []
    for place, name in enumerate(draw(st.lists(st.sampled_from(PURPOSE.names), unique=True))):
        kind = draw(KINDS)
        valid = draw(st.booleans())
        indexes.append(index(kind, name, flags=(valid, True, True)))
        above = {ROOT: f"public.{name}"}
        for table in TABLES:
            attached = above.get(table.parent) if valid or draw(st.booleans()) else None
            if attached or draw(st.booleans()):
                flags = (True, True, True) if valid or not table.leaf else draw(FLAGS)
                if not table.leaf and not valid:
                    flags = (False, True, True)
                indexes.append(index(kind, f"{table.name}_{place}", table, flags, attached))
                above[table.path] = indexes[-1].path
    loose = [index(draw(KINDS), f"{table.name}_loose", table, draw(FLAGS)) for table in TABLES if draw(st.booleans())]
    loose = [i if i.partition != "public.three" else replace(i, valid=False) for i in loose]
    own, partitions = sort_indexes([*indexes, *loose], TABLES)
    return Catalog(own, partitions=partitions)


def is_done(catalog, target):
    """Whether the target's index of the table is the only one, and each partition has one that is attached to it."""
    found = [i for i in catalog.indexes if i.kind in SIDES]
    alone = len(found) == 1 and found[0].usable and found[0].kind is target and found[0].name == INDEX_NAME
    return alone and {i.partition for i in catalog.partitions.attached} == {table.path for table in TABLES}


@settings(max_examples=few_examples(300))
@given(catalogs(), KINDS)
def test_every_plan_ends(catalog, target):
    """From every state the plan ends with one index; a complete index is there at all times, if one was."""
    plan = plan_change(catalog, target)
    if plan.refusal:
        assert not any(i.usable for i in catalog.indexes)
        return
    assert len(plan.steps) < 60
    for step in plan.steps:
        had = any(i.usable for i in catalog.indexes)
        catalog = catalog_after(step, catalog)
        assert any(i.usable for i in catalog.indexes) or not had
    assert is_done(catalog, target)
    assert plan_change(catalog, target).steps == ()


@settings(max_examples=examples(100))
@given(catalogs(), KINDS)
def test_each_plan_is_its_first_step_and_the_plan_from_there(catalog, target):
    """A plan that is made again after each step is the rest of the plan."""
    steps = plan_change(catalog, target).steps
    for number, step in enumerate(steps[:20]):
        assert plan_change(catalog, target).steps == steps[number:]
        catalog = catalog_after(step, catalog)


def test_a_name_of_a_partition_index_that_is_taken():
    """Where the partition's own name is taken by an index that cannot be attached, another follows."""
    begun, table = index(IndexKind.FIXED, "idx_q_threads_family_unique_build", flags=(False, True, True)), TABLES[0]
    tables = (table,)
    own, partitions = sort_indexes([begun], tables)
    (name,) = [s.builds.name for s in plan_change(Catalog(own, partitions=partitions)).steps if s.builds]
    other = replace(index(IndexKind.FIXED, name, table), columns=tuple(reversed(PURPOSE.after.parts)))
    own, partitions = sort_indexes([begun, other], tables)
    plan = plan_change(Catalog(own, partitions=partitions))
    assert [s.name for s in plan.steps] == ["build", "attach", "drop", "swap"]
    assert plan.steps[0].builds.name == f"{name}_2"
