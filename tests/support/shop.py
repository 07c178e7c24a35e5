"""A table that has nothing to do with the incident: the products of a shop, whose slugs are unique, tenants or not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from incident_lib.model.change import IndexChange, IndexKey

if TYPE_CHECKING:
    import psycopg

INDEX = "products_slug_key"
CHANGE = IndexChange(
    "tenant.toml",
    "shop",
    "products",
    INDEX,
    IndexKey(("slug",)),
    IndexKey(("tenant_id", "slug")),
    "deleted_at IS NULL",
)
CONSTRAINT = replace(CHANGE, predicate=None, constraint=True)
FILE = """\
table = "shop.products"
index = "products_slug_key"
key_before = ["slug"]
key_after = ["tenant_id", "slug"]
"""
TABLE = """
CREATE SCHEMA shop;
CREATE TABLE shop.products (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL DEFAULT 1,
    slug text NOT NULL,
    locale text,
    deleted_at timestamptz
);
INSERT INTO shop.products (tenant_id, slug, locale, deleted_at)
    SELECT n % 3, 'slug-' || n, CASE WHEN n % 4 > 0 THEN 'en' END, CASE WHEN n % 10 = 0 THEN now() END
    FROM generate_series(1, 500) AS n;
"""


def create(connection: psycopg.Connection[Any], change: IndexChange = CHANGE) -> None:
    """The table with 500 products, and the index from before the change."""
    connection.execute(TABLE)
    key = ", ".join(change.before.parts)
    if change.constraint:
        connection.execute(f"ALTER TABLE shop.products ADD CONSTRAINT {INDEX} UNIQUE ({key})")
        return
    where = f" WHERE {change.predicate}" if change.predicate else ""
    nulls = " NULLS NOT DISTINCT" if change.before.nulls_not_distinct else ""
    connection.execute(f"CREATE UNIQUE INDEX {INDEX} ON shop.products ({key}){nulls}{where}")
