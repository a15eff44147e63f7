from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

import pytest

from fashion_pipeline.errors import FashionError, SettingsError, ShopAuthError
from fashion_pipeline.redaction import blank, blank_causes, printable, register
from fashion_pipeline.settings import Settings

KEY = "ck_0123456789abcdef"
SECRET = "cs_fed/cba+98&76543210"
PAIR = b64encode(f"{KEY}:{SECRET}".encode()).decode()
FORMS = [
    KEY,
    SECRET,
    PAIR,
    PAIR.rstrip("="),
    quote(SECRET, safe=""),
    quote(PAIR, safe=""),
    SECRET.replace("&", "&amp;"),
]


@pytest.fixture(autouse=True)
def _registered() -> None:
    register(KEY, SECRET)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_secret_is_blanked_in_every_error(form: str) -> None:
    """Whatever a shop repeats, and wherever a message quotes it: message, advice, text and arguments are clean."""
    for kind in (FashionError, ShopAuthError, SettingsError):
        error = kind(f"it said {form}", advice=f"see {form}", store_id="a")
        for text in (str(error), error.message, error.advice, error.sentence, repr(error)):
            assert form not in text
            assert SECRET not in text


def test_what_looks_like_credentials_is_blanked_without_being_registered() -> None:
    """A proxy's own Authorization header, the user in a URL, and key parameters are nobody's to show."""
    text = blank("Authorization: Basic dXNlcjpwYTU1d29yZA== to http://user:pa55@host/?consumer_key=ck_x&page=2")
    assert text == "Authorization: Basic *** to http://***@host/?consumer_key=***&page=2"


def test_ordinary_text_is_left_alone() -> None:
    """Only secrets are blanked: a title, an address and a short word stay as they are."""
    text = "the basic dress of https://shop.example/a@2x.jpg?size=2 costs 10"
    assert blank(text) == text
    register("tee")
    assert blank("a tee") == "a tee"


def test_a_secret_is_blanked_before_a_text_is_cut() -> None:
    """Half a secret at the end of a cut text would be found by nobody."""
    assert printable("x" * 195 + SECRET) == "x" * 195 + "***"


def test_direction_marks_and_invisible_characters_are_replaced() -> None:
    """A title cannot turn a line of the terminal round, hide text in it, or fill it."""
    assert printable("a\u202eb\u2066c\u200bd") == "a\ufffdb\ufffdc\ufffdd"
    assert len(printable("x" * 1_000_000)) == 200


@blank_causes
def fails(cause: Exception) -> None:
    try:
        raise cause
    except ValueError as error:
        msg = "the shop's answer cannot be read"
        raise FashionError(msg) from error


@blank_causes
async def fails_later(cause: Exception) -> None:
    fails(cause)


async def test_a_cause_that_repeats_a_secret_is_dropped() -> None:
    """Dagster stores the whole chain of causes: none of its errors holds a key; the others stay for the reader."""
    for form in FORMS:
        with pytest.raises(FashionError) as caught:
            fails(ValueError(f"not JSON: {form}"))
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        with pytest.raises(FashionError) as later:
            await fails_later(ValueError(f"not JSON: {form}"))
        assert later.value.__cause__ is None
    with pytest.raises(FashionError) as harmless:
        fails(ValueError("not JSON: <html>"))
    assert isinstance(harmless.value.__cause__, ValueError)


@pytest.mark.parametrize("password", ["p@ss:w/rd", "p@ss", "pa/ss"])
def test_an_ambiguous_database_url_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """The rest of a password would be taken for the host, which messages name."""
    monkeypatch.setenv("FASHION_DATABASE_URL", f"postgresql://user:{password}@db.example/fashion")
    with pytest.raises(SettingsError, match="a password with @ : / % must be percent-encoded") as caught:
        Settings.read()
    assert "ss" not in str(caught.value).replace("password", "")
    assert "db.example" not in str(caught.value)


def test_the_password_in_qdrants_url_is_in_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every error names the URL, and none the user and password in it."""
    monkeypatch.setenv("FASHION_QDRANT_URL", "http://user:pa55word@qdrant.example:6333")
    settings = Settings.read()
    message = str(FashionError(f"Qdrant at {settings.qdrant_url} does not answer"))
    assert message == "Qdrant at http://***@qdrant.example:6333 does not answer"
