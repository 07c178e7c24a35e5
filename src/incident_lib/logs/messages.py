"""PostgreSQL's log messages for a rejection by a unique index and a failed build of one, in each language."""

from __future__ import annotations

import re
from typing import NamedTuple


class Messages(NamedTuple):
    """Severities, a label and messages, as a server with such lc_messages logs them."""

    error: str
    log: str
    statement: str | None  # the label of what was sent; None: unknown to this project
    duplicate: str  # what a client gets
    build: str | None  # what CREATE INDEX and REINDEX get; None: unknown to this project


# From PostgreSQL's own catalogs (src/backend/po); a test compares them with those that are installed.
LANGUAGES = {
    "en": Messages(
        "ERROR",
        "LOG",
        "STATEMENT",
        'duplicate key value violates unique constraint "%s"',
        'could not create unique index "%s"',
    ),
    "de": Messages(
        "FEHLER",
        "LOG",
        "ANWEISUNG",
        "doppelter Schlüsselwert verletzt Unique-Constraint »%s«",
        "konnte Unique Index »%s« nicht erstellen",
    ),
    "es": Messages(
        "ERROR",
        "LOG",
        "SENTENCIA",
        "llave duplicada viola restricción de unicidad «%s»",
        "no se pudo crear el índice único «%s»",
    ),
    "fr": Messages(
        "ERREUR",
        "LOG",
        "INSTRUCTION",
        "la valeur d'une clé dupliquée rompt la contrainte unique « %s »",
        "n'a pas pu créer l'index unique « %s »",
    ),
    "it": Messages(
        "ERRORE",
        "LOG",
        "ISTRUZIONE",
        'un valore chiave duplicato viola il vincolo univoco "%s"',
        'creazione dell\'indice univoco "%s" fallita',
    ),
    "ja": Messages(
        "ERROR",
        "LOG",
        "文",
        '重複したキー値は一意性制約"%s"違反となります',
        '一意インデックス"%s"を作成できませんでした',
    ),
    "ka": Messages(
        "შეცდომა",
        "ჟურნალი",
        "ოპერატორი",
        'დუბლირებული გასაღების მნიშვნელობა არღვევს უნიკალურ შეზღუდვას "%s"',
        'უნიკალური ინდექსის შექმნა შეუძლებელია: "%s"',
    ),
    "ko": Messages(
        "오류",
        "로그",
        "명령 구문",
        '중복된 키 값이 "%s" 고유 제약 조건을 위반함',
        '"%s" 고유 인덱스를 만들 수 없음',
    ),
    "pl": Messages("BŁĄD", "LOG", None, 'podwójna wartość klucza narusza ograniczenie unikalności "%s"', None),
    "pt_BR": Messages("ERRO", "LOG", None, 'duplicar valor da chave viola a restrição de unicidade "%s"', None),
    "ru": Messages(
        "ОШИБКА",
        "СООБЩЕНИЕ",
        "ОПЕРАТОР",
        'повторяющееся значение ключа нарушает ограничение уникальности "%s"',
        'создать уникальный индекс "%s" не удалось',
    ),
    "sv": Messages(
        "FEL",
        "LOGG",
        "SATS",
        'duplicerat nyckelvärde bryter mot unik-villkor "%s"',
        'kunde inte skapa unikt index "%s"',
    ),
    "tr": Messages("HATA", "LOG", None, 'tekrar eden kayıt, "%s" tekil kısıtlamasını ihlal etmektedir', None),
    "uk": Messages(
        "ПОМИЛКА",
        "ЗАПИСУВАННЯ",
        "ІНСТРУКЦІЯ",
        'повторювані значення ключа порушують обмеження унікальності "%s"',
        'не вдалося створити унікальний індекс "%s"',
    ),
    "zh_CN": Messages("错误", "日志", "语句", '重复键值违反唯一约束 "%s"', '无法创建唯一索引 "%s"'),
    "zh_TW": Messages("錯誤", "日誌", "陳述式", '重複的鍵值違反唯一限制 "%s"', '無法建立唯一索引 "%s"'),
}
ERRORS = frozenset(words.error for words in LANGUAGES.values())
FIRST = ERRORS | {words.log for words in LANGUAGES.values()} | {"WARNING", "NOTICE", "INFO", "FATAL", "PANIC"}
# The label of a DETAIL, from the same catalogs; three of languages whose newer catalogs are not known to this project.
DETAILS = frozenset(
    {"DETAIL", "DETALLE", "DÉTAIL", "DETTAGLI", "詳細", "დეტალები", "상세정보", "ПОДРОБНОСТИ", "DETALJ", "ВІДОМОСТІ"}
    | {"详情", "详细信息", "詳情", "SZCZEGÓŁY", "DETALHE", "DETAY"}
)
STATEMENTS = frozenset(words.statement for words in LANGUAGES.values() if words.statement)
LATER = STATEMENTS | DETAILS | {"HINT", "QUERY", "CONTEXT", "LOCATION", "BACKTRACE"}


def duplicate_patterns(name: str) -> re.Pattern[str]:
    """The messages, in any language, that say that a unique index of such a name rejected a row.

    Args:
        name: a regular expression.
    """
    return _any_of([words.duplicate for words in LANGUAGES.values()], name)


def build_patterns(name: str) -> re.Pattern[str]:
    """The messages, in any language, that say that a unique index of such a name could not be built."""
    return _any_of([words.build for words in LANGUAGES.values() if words.build], name)


def _any_of(messages: list[str], name: str) -> re.Pattern[str]:
    """The messages with any name in place of %s; a space may be one that does not break (U+00A0, U+202F)."""
    escaped = (
        re.escape(message)
        .replace(re.escape(' "'), r'\s*"')
        .replace(re.escape(" "), r"\s+")
        .replace("%s", f"(?:{name})")
        for message in messages
    )
    return re.compile("|".join(escaped))
