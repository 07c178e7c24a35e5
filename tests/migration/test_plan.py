"""The planner: from whatever the catalog holds to one unique index of the target's kind, or a refusal."""

from dataclasses import replace
from itertools import islice, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incident_lib.migration.plan import catalog_after, has_to_wait, plan_change, replaced_index
from incident_lib.model.catalog import Catalog, UniqueIndex
from incident_lib.model.change import INDEX_NAME, PROVIDER, PURPOSE, SIDES, IndexKey, IndexKind
from tests.support import shop
from tests.support.examples import few_examples, rounds

PREDICATE = "((is_active = true) AND (root_prompt_row_id IS NOT NULL))"
USABLE, STILL_ENFORCING = (True, True, True), (False, True, True)
SCAN_FAILED, DEAD = (False, False, True), (False, False, False)
WITH_EXPRESSION = replace(
    shop.CHANGE, before=IndexKey(("(lower(slug))",)), after=IndexKey(("tenant_id", "(lower(slug))"))
)
FOREIGN_NAMES = ("a_guard", "uq_threads", "zz_guard")

BUILD_FIXED = (
    'CREATE UNIQUE INDEX CONCURRENTLY "idx_q_threads_family_unique_build" ON "public"."q_threads"'
    ' ("root_prompt_row_id", "owner_id", "purpose") WHERE is_active = true AND root_prompt_row_id IS NOT NULL'
)
BUILD_ORIGINAL = BUILD_FIXED.replace(', "purpose"', "")
RETIRE_CURRENT = 'ALTER INDEX "public"."idx_q_threads_family_unique" RENAME TO "idx_q_threads_family_unique_retired"'
PROMOTE_BUILD = 'ALTER INDEX "public"."idx_q_threads_family_unique_build" RENAME TO "idx_q_threads_family_unique"'
DROP_BUILD = 'DROP INDEX CONCURRENTLY "public"."idx_q_threads_family_unique_build"'
DROP_RETIRED = 'DROP INDEX CONCURRENTLY "public"."idx_q_threads_family_unique_retired"'


def index(kind, name=INDEX_NAME, flags=USABLE, change=PURPOSE, **more):
    """A unique index of a kind, usable unless told otherwise."""
    valid, ready, live = flags
    key = change.key(kind)
    columns = tuple(None if part in key.expressions else part for part in key.parts)
    more |= {"expressions": key.expressions, "change": change}
    return UniqueIndex(
        name,
        f"the definition of {name}",
        columns,
        change.predicate,
        True,
        key.nulls_not_distinct,
        valid,
        ready,
        live,
        **more,
    )


def original(name=INDEX_NAME, flags=USABLE, **more):
    """An original index."""
    return index(IndexKind.ORIGINAL, name, flags, **more)


def fixed(name=INDEX_NAME, flags=USABLE, **more):
    """A fixed index."""
    return index(IndexKind.FIXED, name, flags, **more)


def stranger(name, columns, **more):
    """A usable unique index of other columns."""
    return UniqueIndex(name, f"the definition of {name}", columns, PREDICATE, True, False, True, True, True, **more)


def steps(*indexes, target=IndexKind.FIXED):
    """The names of the steps that are planned from these indexes."""
    return [step.name for step in plan_change(Catalog(indexes), target).steps]


def statements(*indexes, target=IndexKind.FIXED):
    """Everything that a plan from these indexes sends, in order."""
    return [statement for step in plan_change(Catalog(indexes), target).steps for statement in step.sql]


def is_done(catalog, target):
    """Whether exactly one unique index is there: of the target's kind, usable, under the official name."""
    indexes = [index for index in catalog.indexes if index.kind in SIDES]
    change = catalog.change
    return (
        len(indexes) == 1
        and indexes[0].kind is target
        and indexes[0].usable
        and indexes[0].name == change.index
        and bool(indexes[0].constraint) is change.constraint
    )


def walked(catalog, target):
    """The catalogs that are passed through, the start and the end included."""
    passed = [catalog]
    for step in plan_change(catalog, target).steps:
        passed.append(catalog_after(step, passed[-1]))
    return passed


FLAGS = st.sampled_from([USABLE, STILL_ENFORCING, SCAN_FAILED, DEAD])
NAMES = st.lists(st.integers(0, 5), unique=True, max_size=6)  # the change's three names, and three others
CHANGES = st.sampled_from([PURPOSE, PROVIDER, shop.CHANGE, shop.CONSTRAINT, WITH_EXPRESSION])
TARGETS = st.sampled_from([IndexKind.ORIGINAL, IndexKind.FIXED])


@st.composite
def catalogs(draw, names=NAMES, changes=CHANGES):
    """Any catalog of a change's unique indexes, with the flags that PostgreSQL can leave, some being built now."""
    change, indexes = draw(changes), []
    for place in draw(names):
        name, flags, kind = (change.names + FOREIGN_NAMES)[place], draw(FLAGS), draw(TARGETS)
        is_built = flags in (SCAN_FAILED, STILL_ENFORCING) and draw(st.booleans())
        backs = change.constraint and flags is USABLE and (place == 0 or draw(st.booleans()))
        more = {
            "comment": draw(st.sampled_from([None, "one active thread"])),
            "include": draw(st.sampled_from([(), ("name",)])),
            "storage": draw(st.sampled_from([(), ("a=1",)])),
            "constraint": name if backs else None,
        }
        indexes.append(index(kind, name, flags, change, builder=4711 if is_built else None, **more))
    holders = draw(st.sampled_from([(), (), (4711,), (4711, 4712)]))
    return Catalog(tuple(indexes), lock_holders=holders, change=change)


def test_from_original():
    """From the original index the way is: build the fixed one beside it, swap the names, drop the original."""
    assert statements(original()) == [BUILD_FIXED, RETIRE_CURRENT, PROMOTE_BUILD, DROP_RETIRED]


def test_step_names_from_original():
    """The steps from the original index are named build, swap and drop."""
    assert steps(original()) == ["build", "swap", "drop"]


def test_from_fixed():
    """From the fixed index nothing is left to do."""
    assert steps(fixed()) == []


def test_rollback_from_fixed():
    """From the fixed index the way back is the same way, with the original index built."""
    expected = [BUILD_ORIGINAL, RETIRE_CURRENT, PROMOTE_BUILD, DROP_RETIRED]
    assert statements(fixed(), target=IndexKind.ORIGINAL) == expected


def test_rollback_from_original():
    """From the original index no rollback is to do."""
    assert steps(original(), target=IndexKind.ORIGINAL) == []


@pytest.mark.parametrize("flags", [STILL_ENFORCING, SCAN_FAILED, DEAD])
def test_leftover_of_a_build(flags):
    """What a killed build left is dropped first, whether it enforces or not, since the original index stands."""
    expected = [DROP_BUILD, BUILD_FIXED, RETIRE_CURRENT, PROMOTE_BUILD, DROP_RETIRED]
    assert statements(original(), fixed(PURPOSE.build_name, flags)) == expected


@pytest.mark.parametrize("flags", [STILL_ENFORCING, SCAN_FAILED, DEAD])
def test_leftover_of_a_drop(flags):
    """What a killed drop left is dropped again, whether it enforces or not."""
    assert statements(fixed(), original(PURPOSE.retired_name, flags)) == [DROP_RETIRED]


@pytest.mark.parametrize("flags", [SCAN_FAILED, DEAD])
def test_leftover_that_enforces_nothing_alone(flags):
    """A leftover that enforces nothing is dropped before the build, where no unique index is enforced at all."""
    assert statements(fixed(PURPOSE.build_name, flags)) == [DROP_BUILD, BUILD_FIXED, PROMOTE_BUILD]


def test_leftover_that_enforces_alone():
    """An invalid original index that is the only one enforced stays until the fixed one is complete."""
    expected = [BUILD_FIXED, RETIRE_CURRENT, PROMOTE_BUILD, DROP_RETIRED]
    assert statements(original(flags=STILL_ENFORCING)) == expected


def test_built_not_swapped():
    """A build that is complete is swapped in, and the original dropped."""
    assert statements(original(), fixed(PURPOSE.build_name)) == [RETIRE_CURRENT, PROMOTE_BUILD, DROP_RETIRED]


def test_swapped_not_dropped():
    """After the swap only the drop of the original is left."""
    assert statements(fixed(), original(PURPOSE.retired_name)) == [DROP_RETIRED]


def test_missing():
    """Without any unique index the fixed one is built and gets the official name."""
    assert statements() == [BUILD_FIXED, PROMOTE_BUILD]


def test_fixed_under_another_name():
    """A complete fixed index under somebody's name is renamed, not built again."""
    assert statements(fixed("uq_threads")) == [
        'ALTER INDEX "public"."uq_threads" RENAME TO "idx_q_threads_family_unique"'
    ]


def test_original_under_another_name():
    """An original index under somebody's name is dropped by that name, once the fixed one stands."""
    expected = [BUILD_FIXED, PROMOTE_BUILD, 'DROP INDEX CONCURRENTLY "public"."uq_threads"']
    assert statements(original("uq_threads")) == expected


def test_odd_name_is_quoted():
    """A name with a quote in it is quoted as an identifier."""
    assert statements(fixed(), original('a"b'))[-1] == 'DROP INDEX CONCURRENTLY "public"."a""b"'


def test_the_same_index_twice():
    """Of two complete fixed indexes the one under the official name stays."""
    assert statements(fixed("a_guard"), fixed()) == ['DROP INDEX CONCURRENTLY "public"."a_guard"']


def test_builder_is_waited_for():
    """What another session still builds is waited for first."""
    building = fixed(PURPOSE.build_name, SCAN_FAILED, builder=4711)
    assert steps(original(), building) == ["wait", "swap", "drop"]


def test_wait_says_why():
    """The step that waits names the index that is being built, and sends nothing."""
    step = plan_change(Catalog((original(), fixed(PURPOSE.build_name, SCAN_FAILED, builder=4711)))).steps[0]
    expected = ((), f"another session is still building {PURPOSE.build_name}")
    assert (step.sql, step.why) == expected


def test_comment_is_copied_in_the_swap():
    """The official index's comment goes to the unique index that takes its name, in the swap's transaction."""
    way = plan_change(Catalog((original(comment="one active thread's guard"),)))
    assert way.steps[1].sql[-1] == (
        "COMMENT ON INDEX \"public\".\"idx_q_threads_family_unique\" IS 'one active thread''s guard'"
    )


def test_swap_is_one_transaction():
    """Both renames and the comment go into one transaction."""
    assert [step.transaction for step in plan_change(Catalog((original(comment="c"),))).steps] == [False, True, False]


def test_harmless_is_left_alone():
    """A harmless unique index is never touched."""
    assert steps(fixed(), stranger("q_threads_pkey", ("row_id",))) == []


def test_unreadable_is_refused():
    """Where something unreadable enforces, there is no plan."""
    way = plan_change(Catalog((original(), stranger("uq_root", ("root_prompt_row_id",)))))
    assert way.refusal == (
        "uq_root is enforced and is neither the original nor the fixed index: its key is (root_prompt_row_id) and not "
        "(root_prompt_row_id, owner_id) or (root_prompt_row_id, owner_id, purpose); if idx_q_threads_family_unique, "
        "which is enforced beside it, is enough, drop the other, then run this again"
    )


def test_refusal_has_no_steps():
    """A refusal comes without a step."""
    assert steps(original(), stranger("uq_root", ("root_prompt_row_id",))) == []


def test_name_taken_by_another_relation():
    """Where a relation that is no unique index holds the official name, there is no plan."""
    way = plan_change(Catalog((original("uq_threads"),), {INDEX_NAME: "a relation of kind r"}))
    assert way.refusal == (
        "a name that the plan needs is taken (idx_q_threads_family_unique is a relation of kind r); rename what has it"
    )


def test_one_other_name_is_enough():
    """Where something else has one of the two other names, the plan has the other one, and drops before it renames."""
    way = plan_change(Catalog((original(),), {PURPOSE.build_name: "a relation of kind r"}))
    assert [statement for step in way.steps for statement in step.sql] == [
        BUILD_FIXED.replace("_build", "_retired"),
        'DROP INDEX CONCURRENTLY "public"."idx_q_threads_family_unique"',
        PROMOTE_BUILD.replace("_build", "_retired"),
    ]


def test_an_index_that_may_be_the_only_one_is_kept():
    """Nobody is told to drop an index that may be the only one enforced."""
    way = plan_change(Catalog((stranger("uq_root", ("root_prompt_row_id",)), fixed(flags=SCAN_FAILED))))
    assert way.refusal == (
        "uq_root is enforced and is neither the original nor the fixed index: its key is (root_prompt_row_id) and not "
        "(root_prompt_row_id, owner_id) or (root_prompt_row_id, owner_id, purpose); it may be the only index that "
        "prevents duplicates, so keep it until an original or a fixed index is enforced beside it"
    )


def test_name_taken_by_a_harmless_index():
    """Where a harmless index of the table holds the official name, there is no plan."""
    way = plan_change(Catalog((original("uq_threads"), stranger(INDEX_NAME, ("row_id",)))))
    assert way.refusal == (
        "a name that the plan needs is taken (idx_q_threads_family_unique is "
        "the definition of idx_q_threads_family_unique); rename what has it"
    )


LOCKED = (4711,)


def test_no_leftover_is_dropped_under_anothers_lock():
    """An index that another session may be building is waited for, and only then dropped."""
    way = plan_change(Catalog((original(), fixed(PURPOSE.build_name, SCAN_FAILED)), lock_holders=LOCKED))
    assert [step.name for step in way.steps] == ["wait", "drop", "build", "swap", "drop"]


def test_a_wait_names_who_may_be_building():
    """The wait names the index and the session that holds the lock."""
    step = plan_change(Catalog((original(), fixed(PURPOSE.build_name, SCAN_FAILED)), lock_holders=LOCKED)).steps[0]
    assert (step.waits_for, step.why) == (
        PURPOSE.build_name,
        "pid 4711 holds SHARE UPDATE EXCLUSIVE on the table: it may be building this index",
    )


def test_a_wait_names_all_who_may_be_building():
    """Where several sessions hold the lock, all are named."""
    step = plan_change(Catalog((original(), fixed(PURPOSE.build_name, SCAN_FAILED)), lock_holders=(1, 2))).steps[0]
    assert step.why == (
        "the sessions with pid 1, 2 hold SHARE UPDATE EXCLUSIVE on the table: one may be building this index"
    )


def test_complete_indexes_are_dropped_under_anothers_lock():
    """The drop of a complete index waits for nobody beforehand: nobody is building it."""
    way = plan_change(Catalog((fixed(), original(PURPOSE.retired_name)), lock_holders=LOCKED))
    assert [step.name for step in way.steps] == ["drop"]


def test_an_index_that_another_session_drops_is_waited_for():
    """An incomplete index of the other kind is not dropped while another session may be at it."""
    way = plan_change(Catalog((fixed(), original(PURPOSE.retired_name, STILL_ENFORCING)), lock_holders=LOCKED))
    assert [step.name for step in way.steps] == ["wait", "drop"]


@pytest.mark.parametrize(
    ("catalog", "waits"),
    [
        (Catalog((fixed(PURPOSE.build_name, SCAN_FAILED),), lock_holders=LOCKED), True),
        (Catalog((fixed(PURPOSE.build_name, SCAN_FAILED),)), False),
        (Catalog((fixed(PURPOSE.build_name, SCAN_FAILED, builder=1),)), True),
        (Catalog((fixed(PURPOSE.build_name),), lock_holders=LOCKED), False),
        (Catalog((), lock_holders=LOCKED), False),
    ],
)
def test_how_long_to_wait(catalog, waits):
    """A wait ends when the index is complete or gone, or when no other session may be building it any more."""
    step = plan_change(Catalog((original(), fixed(PURPOSE.build_name, SCAN_FAILED)), lock_holders=LOCKED)).steps[0]
    assert has_to_wait(step, catalog) is waits


def test_two_names_taken():
    """Every name that is taken is named, in order."""
    way = plan_change(
        Catalog(
            (original(),), {PURPOSE.retired_name: "a relation of kind v", PURPOSE.build_name: "a relation of kind r"}
        )
    )
    assert way.refusal == (
        "a name that the plan needs is taken (idx_q_threads_family_unique_build is a relation of kind r; "
        "idx_q_threads_family_unique_retired is a relation of kind v); rename what has it"
    )


def test_three_names_held_by_incomplete_indexes():
    """Where incomplete indexes that are enforced hold all our names, one goes beside another one of its kind."""
    held = (fixed(flags=STILL_ENFORCING), *(original(n, STILL_ENFORCING) for n in PURPOSE.names[1:]))
    assert statements(*held)[:2] == [DROP_RETIRED, BUILD_FIXED.replace("_build", "_retired")]


def test_three_names_held_by_complete_indexes():
    """Where complete original indexes hold all our names, there is a plan or a refusal, and no crash."""
    way = plan_change(Catalog(tuple(original(name) for name in PURPOSE.names)))
    assert way.steps or way.refusal


CARRIED = {"include": ("name", "purpose"), "storage": ("fillfactor=70", "deduplicate_items=off"), "tablespace": 'a"b'}


def test_a_build_takes_over_properties():
    """The new index gets tablespace, storage parameters and INCLUDE columns of the old one; the key is its own."""
    assert statements(original(**CARRIED))[0] == BUILD_FIXED.replace(
        " WHERE ",
        """ INCLUDE ("name") WITH ("fillfactor" = '70', "deduplicate_items" = 'off') TABLESPACE "a""b" WHERE """,
    )


def test_a_rollback_takes_over_properties():
    """On the way back, an INCLUDE column that is not in the smaller key stays one."""
    (first, *_) = statements(fixed(include=("name",)), target=IndexKind.ORIGINAL)
    assert first == BUILD_ORIGINAL.replace(" WHERE ", ' INCLUDE ("name") WHERE ')


def test_the_built_index_has_the_properties():
    """The index that a step promises has what its statement says."""
    built = plan_change(Catalog((original(**CARRIED),))).steps[0].builds
    assert (built.include, built.storage, built.tablespace) == (
        ("name",),
        ("fillfactor=70", "deduplicate_items=off"),
        'a"b',
    )


def test_a_plain_build():
    """A plain index takes over nothing but the comment."""
    way = plan_change(Catalog((original(comment="one", **CARRIED),)), plain=True)
    assert way.steps[0].sql == (BUILD_FIXED,)
    assert way.steps[1].sql[-1].endswith("IS 'one'")


def test_a_complete_index_is_replaced():
    """Of several indexes of the other kind, the properties are those of one that is complete."""
    indexes = (original(flags=STILL_ENFORCING, storage=("fillfactor=50",)), original("zz", storage=("fillfactor=70",)))
    assert replaced_index(Catalog(indexes), IndexKind.FIXED).name == "zz"


def test_the_comment_of_an_index_of_another_name():
    """The comment is carried over from an index that does not have the official name, too."""
    (*_, comment, _) = statements(original("a_guard", comment="one"))
    assert comment == """COMMENT ON INDEX "public"."idx_q_threads_family_unique" IS 'one'"""


@settings(max_examples=few_examples(500))
@given(catalogs(), TARGETS)
def test_any_plan_arrives(catalog, target):
    """From any catalog there is a refusal, or a short walk to one usable unique index of the target's kind and name."""
    plan = plan_change(catalog, target)
    assert plan.refusal or is_done(walked(catalog, target)[-1], target)
    assert len(plan.steps) < 15


@settings(max_examples=few_examples(500))
@given(catalogs(), TARGETS)
def test_no_step_leaves_the_table_unindexed(catalog, target):
    """If any unique index was enforced or usable at the start, one is after each step; no two have the same name."""
    passed = walked(catalog, target)
    for holds in ("enforced", "usable"):
        kept = [any(getattr(index, holds) for index in each.indexes) for each in passed]
        assert all(kept) or not kept[0]
    assert all(len({i.name for i in each.indexes}) == len(each.indexes) for each in passed)


@settings(max_examples=few_examples(500))
@given(catalogs(), TARGETS)
def test_resuming_anywhere_is_the_rest_of_the_plan(catalog, target):
    """Planned anew after each step, the plan is what was left of the one before."""
    whole = plan_change(catalog, target).steps
    passed = walked(catalog, target)
    assert [plan_change(left, target).steps for left in passed] == [whole[done:] for done in range(len(passed))]


@pytest.mark.parametrize(
    "others",
    [
        pytest.param((SCAN_FAILED, 4711, ()), id="another session builds it"),
        pytest.param((USABLE, None, (SCAN_FAILED,)), id="beside a build that failed"),
    ],
)
def test_an_index_of_the_name_of_the_constraint_that_backs_none(others):
    """It is refused at once, not after the other session's build, or after the leftover has been dropped."""
    flags, builder, leftovers = others
    change = shop.CONSTRAINT
    held = [index(IndexKind.ORIGINAL, change.index, flags, change, builder=builder)]
    held += [index(IndexKind.FIXED, change.names[1], leftover, change) for leftover in leftovers]
    plan = plan_change(Catalog(tuple(held), change=change))
    assert (plan.steps, plan.refusal) == (
        (),
        f"{change.index} backs no constraint; write constraint = false in tenant.toml",
    )


OF_A_NAME = [None, *product(SIDES, (USABLE, STILL_ENFORCING, SCAN_FAILED, DEAD))]


def every_catalog():
    """The 6,561 catalogs over the three names of a change and another one."""
    for held in product(OF_A_NAME, repeat=4):
        named = zip((*PURPOSE.names, "a_guard"), held, strict=True)
        yield Catalog(tuple(index(found[0], name, found[1]) for name, found in named if found))


@pytest.mark.slow
@pytest.mark.parametrize("target", SIDES)
def test_every_catalog_of_four_names(target):
    """From each of the 6,561 catalogs over our names and another, the plan arrives, always guarded; none is refused.

    Each fourth of them has whatever three names may hold together; with soak's numbers it is each one.
    """
    for start in islice(every_catalog(), 0, None, rounds(4, soak=1)):
        passed = walked(start, target)
        assert is_done(passed[-1], target)
        for holds in ("usable", "enforced"):
            kept = [any(getattr(index, holds) for index in catalog.relevant_indexes) for catalog in passed]
            assert all(kept) or not kept[0]


def moves(held, target, names):
    """Every catalog that one statement can lead to: names, with kind and flags of the index that has each."""
    free = [name for name in names if name not in held]
    for name, found in held.items():
        others = {each: other for each, other in held.items() if each != name}
        yield others
        yield from ({**others, new: found} for new in free)
    yield from ({**held, new: (target, USABLE)} for new in free)


def is_guarded(start, held):
    """Whether an index is enforced, and one is complete, if that was so at the start."""
    flags = [[found[1] for found in each.values()] for each in (start, held)]
    complete, enforced = ([USABLE in each for each in flags], [any(f[1] for f in each) for each in flags])
    return complete[0] <= complete[1] and enforced[0] <= enforced[1]


def can_arrive(start, target, names):
    """Whether any guarded way leads to the target's index alone, under the official name: an exhaustive search."""
    goal, seen, todo = {PURPOSE.index: (target, USABLE)}, set(), [start]
    while todo:
        held = todo.pop()
        if held == goal:
            return True
        key = frozenset(held.items())
        if key not in seen:
            seen.add(key)
            todo += [after for after in moves(held, target, names) if is_guarded(start, after)]
    return False


@pytest.mark.slow
@pytest.mark.parametrize("target", SIDES)
@pytest.mark.parametrize("taken", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_a_refusal_is_right(taken, target):
    """Where names are taken, the plan arrives, always guarded, or an exhaustive search finds no guarded way either."""
    strangers = {PURPOSE.names[place]: "a relation of kind r" for place in taken}
    names = [name for name in PURPOSE.names if name not in strangers]
    for flags in product(OF_A_NAME, repeat=len(names) + 1):
        held = {name: found for name, found in zip((*names, "a_guard"), flags, strict=True) if found}
        start = Catalog(tuple(index(kind, name, each) for name, (kind, each) in held.items()), strangers)
        plan = plan_change(start, target)
        assert bool(plan.refusal) is not can_arrive(held, target, names)
        if plan.refusal:
            continue
        passed = walked(start, target)
        assert is_done(passed[-1], target)
        for holds in ("usable", "enforced"):
            kept = [any(getattr(index, holds) for index in catalog.relevant_indexes) for catalog in passed]
            assert all(kept) or not kept[0]
