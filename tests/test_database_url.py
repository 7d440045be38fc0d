"""What a URL names, as libpq reads the same URL."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from restorehooks.database_url import UrlError, settings_of

LIBPQS = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joe:s%2Fe@shop.example:5433/shop",
        "postgresql://joe:s%C3%A9@[::1]:5433/shop?sslmode=require",
        "postgresql://joe:s@first,second:5433/shop",
        "postgresql://joe:s@first:5433,second/shop",
        "postgresql://joe:s@first:5433,second:5434,third/shop",
        "postgresql://joe:s@127.0.0.1,[::1]:5433/shop",
        "postgresql://joe:s@[::1],[::2]/shop",
        "postgresql://joe@/shop?host=/var/run/a,/var/run/b&port=5433,5434",
        "postgresql://joe@first/shop?sslpassword=0123&connect_timeout=05",
        "postgresql://j+oe:s+e@first/a+shop%2B",
        "postgresql://joe:s@%2Frun%2FPostgres,second:5433/shop",
        "postgresql://joe:s@%2Frun%2FPostgres:5433/shop",
        "postgresql://joe:s@first/shop?user=ann&password=0123&dbname=other",
        "postgresql://joe:s@first:5432/shop?host=second&port=5433&dbname=5",
    ],
)
def test_a_url_leads_where_libpq_would_go(url: str) -> None:
    found: dict[str, Any] = settings_of(url, "URL")
    assert isinstance(found["NAME"], str)
    named = {key: str(found[name]) for name, key in LIBPQS.items() if found[name]}
    options = found.get("OPTIONS", {})
    assert not options.keys() & {*LIBPQS.values()}  # Django overrules them
    named |= {name: str(value) for name, value in options.items()}
    wanted = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    if not wanted.get("port", "").strip(","):
        wanted["port"], named["port"] = "", named.get("port", "").strip(",")
    assert named == wanted


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joe:s3cr3t%00@shop.example/shop",
        "postgresql://joe:s3cr3t@shop.example/shop%00",
        "postgresql://joe:s3cr3t@shop.example/shop?application_name=x%00y",
        "postgresql://joe:s3cr3t%FF@shop.example/shop",
        "postgresql://joe:s3cr3t@shop.example/shop#1",
        "postgresql://joe@shop.example/shop&sslmode=require&password=s3cr3t",
    ],
)
def test_what_libpq_cannot_take_whole_is_refused(url: str) -> None:
    """It would read up to the NUL, and so connect to another server, or a query as a name."""
    with pytest.raises(UrlError, match=r"^URL is not of the form") as caught:
        settings_of(url, "URL")
    assert "s3cr3t" not in str(caught.value)
