"""The plan of the demo's six weeks: which user wants what of which prompt, and when. No database here."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal, NamedTuple
from uuid import UUID

from incident_lib.model.threads import Family

SEED = 20250922
START = datetime(2025, 9, 1, tzinfo=UTC)
PURPOSE_SINCE = datetime(2025, 9, 22, 6, tzinfo=UTC)
END = datetime(2025, 10, 13, 12, tzinfo=UTC)

OWNERS, PROMPTS, SHARED_PROMPTS = 240, 1150, 130
OWNERLESS_PROMPTS, DELETED_PROMPTS = 8, 12
IMPORTED, IMPORTED_DORMANT = 40, 30
HOURS = (1, 1, 1, 1, 2, 4, 8, 14, 20, 25, 26, 24, 20, 22, 25, 26, 23, 18, 13, 11, 9, 6, 3, 2)
WEEKEND = 0.3

PLAN_ROW = UUID("8be3a08f-10f5-4b30-af5f-39c4656368f0")
PLAN_ROOT, PLAN_OWNER = (
    UUID("0d69b830-8837-4281-8801-051c1a1ee4ee"),
    UUID("1da78055-6734-4b6e-8a50-9833d644cfca"),
)
PLAN_FAMILY = Family(PLAN_ROOT, PLAN_OWNER)
PLAN_VISITS = (
    "2025-09-18 14:12:07.315",
    "2025-09-22 08:41:52.904",
    "2025-09-22 08:43:10.268",
    "2025-09-22 08:55:31.740",
    "2025-09-24 12:20:44.118",
    "2025-10-02 09:05:16.633",
    "2025-10-13 08:17:29.457",
    "2025-10-13 08:18:03.082",
)

VERBS = ("Draft", "Review", "Summarise", "Translate", "Compare", "Plan", "Rewrite", "Check", "Explain")
TOPICS = (
    "the quarterly report", "onboarding mail", "Ana's CV", "the Lisbon trip", "invoice 2231", "release notes",
    "meeting notes, Tuesday", 'the "final" version', "chapter 4", "a birthday speech", "the budget",
    "unit tests", "SQL for the dashboard", "support ticket", "the rental contract", "a job advert",
)  # fmt: skip
LONG_NAME = ("please write this mail again but friendlier, and shorter, without mentioning the delay; " * 4)[:300]
ODD_NAMES = (
    "مراجعة العقد قبل الجمعة", "تقرير Q3 (نهائي)", "שלום לכם", "תרגום המכתב", "\u2067isolated\u2069",
    "会议纪要 第三季度", "翻译这封邮件", "बैठक का सारांश", "नई योजना", "出張の精算", "회의 준비",
    "План на октябрь", "Ответ клиенту", "σχέδιο ταξιδιού", "รายงานประจำเดือน", "naïve café — Zoë's notes",
    "🚀 launch 🚀", "👩\u200d👩\u200d👧 family trip 🇵🇹", "two\nlines", "tab\there",
    "comma, \"quotes\", 'both'", "<script>alert(1)</script>", '=HYPERLINK("http://example.com","x")', "+1+1",
    "@SUM(A1)", "-2+3", "**bold** | pipe", "Robert'); DROP TABLE q_threads;--", "\u202eesrever\u202c",
    "invoice\u202efdp.exe", "", " ", "NULL", "\\N", "# heading", "{{ template }}",
    "[link](http://example.com)", "100 % \\ done", "$HOME `id`", LONG_NAME,
)  # fmt: skip

Intent = Literal["chat", "run", "eval", "delete"]


class Visit(NamedTuple):
    """One thing that a user wants at some moment, and how many tries it is worth."""

    at: datetime
    intent: Intent
    family: Family
    provider: str = "openai"
    tries: int = 1
    row_id: UUID | None = None


class Plan(NamedTuple):
    """What the replay starts from: the prompts that exist, the rows of the import, the visits."""

    prompts: list[UUID]
    imported: list[dict[str, object]]
    visits: list[Visit]


def new_id(rng: Random) -> UUID:
    """A random version 4 uuid of the seed's sequence."""
    return UUID(int=rng.getrandbits(128), version=4)


def thread_name(rng: Random) -> str | None:
    """What a user calls a thread: mostly plain words, some in other scripts or hostile, some nothing."""
    kind = rng.random()
    if kind < 0.06:
        return None
    return rng.choice(ODD_NAMES) if kind < 0.18 else f"{rng.choice(VERBS)} {rng.choice(TOPICS)}"


def moment(rng: Random, first: datetime, last: datetime) -> datetime:
    """A moment between two others, to the millisecond, most likely in the working hours of a working day."""
    while True:
        at = first + timedelta(milliseconds=rng.randrange((last - first) // timedelta(milliseconds=1)))
        if rng.random() < HOURS[at.hour] / max(HOURS) * (WEEKEND if at.weekday() >= 5 else 1):
            return at


def families(rng: Random) -> list[Family]:
    """Each prompt with its owner; the first few prompts are shared, so they have a second family."""
    owners = [new_id(rng) for _ in range(OWNERS)]
    own = [Family(new_id(rng), rng.choice(owners)) for _ in range(PROMPTS)]
    shared = [Family(f.root, rng.choice([o for o in owners if o != f.owner])) for f in own[:SHARED_PROMPTS]]
    return own + shared


def providers(rng: Random) -> tuple[str, ...]:
    """What a family's runs choose from: most families know one provider only."""
    other = rng.choice(("manus", "manus", "anthropic"))
    return ("openai", other) if rng.random() < 0.09 else ("openai",)


def family_visits(rng: Random, family: Family) -> list[Visit]:
    """The visits of one family: interest begins at some moment and fades over the following weeks."""
    first = moment(rng, START, PURPOSE_SINCE if rng.random() < 0.86 else END)
    ahead = [timedelta(hours=int(rng.expovariate(1 / 100))) for _ in range(int(rng.expovariate(1 / 6.5)))]
    days = [moment(rng, first + wait, first + wait + timedelta(days=1)) for wait in ahead]
    choice = providers(rng)
    visits = [new_visit(rng, at, family, choice) for at in (first, *days) if at < END]
    if (before := first - timedelta(minutes=30)) > PURPOSE_SINCE and rng.random() < 0.35:
        visits += evaluation(rng, before, family)
    return visits


def new_visit(rng: Random, at: datetime, family: Family, choice: tuple[str, ...]) -> Visit:
    """A chat, a run or a tidying up, with the patience of that day: so many tries before giving up."""
    intent: Intent = rng.choices(("chat", "run", "delete"), (70, 27, 3))[0]
    tries = {"chat": rng.choice((1, 1, 1, 1, 2, 3, 5)), "run": rng.choice((1, 1, 1, 2)), "delete": 1}[intent]
    return Visit(at, intent, family, rng.choice(choice), tries)


def evaluation(rng: Random, at: datetime, family: Family) -> list[Visit]:
    """An evaluation of a new prompt, which half of the time ends its thread afterwards."""
    begun = Visit(at, "eval", family)
    ended = Visit(at + timedelta(minutes=12), "delete", family)
    return [begun, ended] if rng.random() < 0.5 else [begun]


def plan_family_visits() -> list[Visit]:
    """The visits of the fix plan's family: the first makes the plan's row, the others are rejected."""
    times = [datetime.fromisoformat(f"{at}Z") for at in PLAN_VISITS]
    made, *rejected = [Visit(at, "chat", PLAN_FAMILY) for at in times]
    return [made._replace(row_id=PLAN_ROW), *rejected]


def imported_row(rng: Random, family: Family) -> dict[str, object]:
    """A row brought over from an earlier store on the first day: no provider, and gaps elsewhere."""
    return {
        "row_id": new_id(rng),
        "root_prompt_row_id": None if rng.random() < 0.25 else family.root,
        "owner_id": family.owner,
        "name": thread_name(rng),
        "is_active": rng.choice((True, True, False, None)),
        "created_at": None if rng.random() < 0.3 else START + timedelta(milliseconds=rng.randrange(60_000)),
    }


def plan(rng: Random) -> Plan:
    """The six weeks as far as they are known beforehand; what follows from rejections comes on top."""
    known = families(rng)
    ownerless = [Family(new_id(rng), None) for _ in range(OWNERLESS_PROMPTS)]
    dormant = [Family(new_id(rng), rng.choice(known).owner) for _ in range(IMPORTED_DORMANT)]
    deleted = [Family(new_id(rng), rng.choice(known).owner) for _ in range(DELETED_PROMPTS)]
    visits = [visit for family in known for visit in family_visits(rng, family)]
    early = list(dict.fromkeys(visit.family for visit in visits if visit.at < PURPOSE_SINCE))
    imported = [imported_row(rng, family) for family in [*rng.sample(early, IMPORTED), *dormant]]
    for family in ownerless:
        visits += [Visit(moment(rng, START, END), "run", family) for _ in range(rng.randint(8, 28))]
    visits += [Visit(moment(rng, START, END), "chat", family) for family in deleted]
    prompts = dict.fromkeys(family.root for family in [*known, *ownerless, *dormant, PLAN_FAMILY])
    return Plan(list(prompts), imported, visits + plan_family_visits())
