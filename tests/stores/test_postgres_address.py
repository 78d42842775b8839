"""What of a server's URL is shown: never the password, whole or in part, wherever it stands and however it is written."""

import pytest
from hypothesis import assume, given, strategies as st

from crucible_telemetry.errors import ConfigurationError
from crucible_telemetry.stores.postgres.address import Address, shown

SECRET = "Xq7Zk"
"""In no other part of a URL."""
odd = st.text("/?#@:%&=[] \\é1a", max_size=4)
passwords = st.builds(lambda a, b: f"{a}{SECRET}{b}", odd, odd)


@given(
    passwords, st.sampled_from(["", "/runs", "/runs?schema=team", "?host=/tmp/x&sslmode=disable"])
)
def test_a_password_is_never_shown_however_it_is_written(password, rest):
    url = f"postgresql://alice:{password}@db.lab:5432{rest}"
    assert SECRET not in shown(url)
    assert SECRET not in told(url)


def told(url):
    """What an address shows, or what is said of one that is none."""
    try:
        return Address(url).shown
    except ConfigurationError as error:
        return str(error)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "postgresql://alice:Xq7Zk@db:5432/runs?schema=s",
            "postgresql://alice@db:5432/runs?schema=s",
        ),
        (
            "postgresql://db/runs?user=a&password=Xq7Zk&schema=s",
            "postgresql://db/runs?user=a&schema=s",
        ),
        ("postgresql://db/runs?PassFile=Xq7Zk", "postgresql://db/runs"),
        ("postgresql://db/runs?sslpassword=Xq7@Zk&schema=s", "postgresql://db/runs?schema=s"),
        ("postgresql://alice:Xq7Zk", "postgresql://alice"),
        ("postgresql://a:1,b:2/runs", "postgresql://a:1,b:2/runs"),
        ("postgresql://[::1]:5432/runs", "postgresql://[::1]:5432/runs"),
        ("postgresql://a@/runs?host=/tmp/x", "postgresql://a@/runs?host=/tmp/x"),
    ],
)
def test_what_is_no_secret_is_shown(url, told):
    assert shown(url) == told


@given(
    st.text(
        st.characters(exclude_characters="/?#@:%[]\\ ", min_codepoint=33), min_size=1, max_size=20
    )
)
def test_what_a_fair_url_says_is_given_on(password):
    assume("\x7f" not in password)
    address = Address(f"postgresql://alice:{password}@db/runs?schema=te%22am&sslmode=disable")
    assert address.schema == 'te"am'
    assert address.quoted_schema == '"te""am"'
    assert address.dsn == f"postgresql://alice:{password}@db/runs?sslmode=disable"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db:port/runs",
        "postgresql://alice:p#w@db/runs",
        "postgresql://alice:p/w@db/runs",
        "postgresql://alice:p?w@db/runs",
        "postgresql://[::1/runs",
        "postgresql://db/runs?schema=",
        "postgresql://db/runs?schema=" + "x" * 64,
        "postgresql://db/runs?nothing",
    ],
)
def test_what_is_no_url_is_refused_before_anything_starts(url):
    with pytest.raises(ConfigurationError, match="url: postgresql://"):
        Address(url)
