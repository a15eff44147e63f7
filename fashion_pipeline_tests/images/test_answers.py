from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from fashion_pipeline.errors import BadReply, BlockedAddress, HostUnavailable, RefusedByHost, WebError
from fashion_pipeline.images.answers import Bytes, row_after
from fashion_pipeline.images.plan import ProductImage
from fashion_pipeline.outcomes import OK, Reason, Status
from fashion_pipeline.records import FetchedImage
from fashion_pipeline_tests.builders import fetched, image
from fashion_pipeline_tests.clock import MONDAY

LATER = MONDAY + timedelta(days=2)
SAME, OTHER = image("https://shop.test/a.jpg"), image("https://shop.test/b.jpg")
UNAVAILABLE = HostUnavailable("503", reason=Reason.HTTP_ERROR, url="u", status=503)
FORBIDDEN = RefusedByHost("403", reason=Reason.HTTP_ERROR, url="u", status=403)
GONE = RefusedByHost("404", reason=Reason.GONE, url="u", status=404)
NEW = Bytes("b" * 64, 200, httpx.Headers({"ETag": '"2"', "Last-Modified": "Tue"}))


def after(before: FetchedImage | None, answer: Bytes | WebError, listed: object = SAME) -> FetchedImage:
    """Return the row after a reply."""
    return row_after(ProductImage("1", listed, before), answer, now=LATER)  # type: ignore[arg-type]


def test_new_bytes_are_ok() -> None:
    """The row holds the bytes' digest, their validators and the time, whatever was known before."""
    for before in (None, fetched(), after(fetched(), GONE)):
        row = after(before, NEW, OTHER)
        assert (row.outcome, row.sha256, row.shown_sha256, row.size_bytes) == (OK, "b" * 64, "b" * 64, 200)
        assert (row.url, row.etag, row.last_modified, row.checked_at) == (OTHER.url, '"2"', "Tue", LATER)


def test_confirmed_bytes_stay() -> None:
    """A 304 updates the time of the last check, ends a failure, and keeps a new validator."""
    failing = after(fetched(), UNAVAILABLE)
    row = after(failing, Bytes(None, 0, httpx.Headers({"ETag": '"3"'})))
    assert row == fetched(checked_at=LATER, etag='"3"')


@pytest.mark.parametrize("error", [UNAVAILABLE, FORBIDDEN])
def test_an_image_that_fails_temporarily_keeps_its_last_good_bytes(error: WebError) -> None:
    """A new URL that answers 503 or 403 leaves the last good bytes in use; the product is stale, not gone."""
    row = after(fetched(), error, OTHER)
    assert row.outcome.status is Status.FAILED
    assert row.outcome.next_retry_at is not None
    assert row.outcome.next_retry_at > LATER
    assert (row.url, row.sha256, row.shown_sha256, row.stale) == (OTHER.url, None, "a" * 64, True)


@pytest.mark.parametrize("status", [300, 402, 405, 406, 407, 409, 412, 421, 423, 426, 451, 499, 410, 400])
def test_only_a_status_about_the_url_drops_an_image(status: int) -> None:
    """400, 404, 410, 414 and 451 are about the URL; any other refusal keeps the last good bytes."""
    row = after(fetched(), RefusedByHost("no", reason=Reason.HTTP_ERROR, url="u", status=status))
    refused = status in {400, 410, 451}
    assert row.outcome.status is (Status.REJECTED if refused else Status.FAILED)
    assert row.shown_sha256 == (None if refused else "a" * 64)


def test_a_refusal_behind_a_redirect_has_a_time() -> None:
    """A refusal behind a redirect records its time, because it costs a request; one of the URL itself does not."""
    behind = BlockedAddress("private", reason=Reason.BLOCKED_ADDRESS, url="u", status=302)
    itself = BlockedAddress("private", reason=Reason.BLOCKED_ADDRESS, url="u")
    assert (after(fetched(), behind).checked_at, after(fetched(), itself).checked_at) == (LATER, None)


def test_endless_validators_are_not_kept() -> None:
    """A very long ETag is not stored."""
    row = after(fetched(), Bytes("b" * 64, 200, httpx.Headers({"ETag": "e" * 501, "Last-Modified": "l" * 500})))
    assert (row.etag, row.last_modified) == (None, "l" * 500)


def test_failures_in_a_row_are_counted_per_url() -> None:
    """The wait grows with a URL's own failures; a new URL starts again and keeps the last good bytes."""
    row = after(after(fetched(), UNAVAILABLE, OTHER), UNAVAILABLE, OTHER)
    assert row.outcome.attempts == 2
    third = after(row, UNAVAILABLE, image("https://shop.test/c.jpg"))
    assert (third.outcome.attempts, third.shown_sha256) == (1, "a" * 64)


def test_a_failed_confirmation_keeps_what_is_needed_for_the_next() -> None:
    """Digest and validators are kept, so that the next request is conditional again."""
    row = after(fetched(), UNAVAILABLE)
    assert (row.sha256, row.etag, row.checked_at, row.stale) == ("a" * 64, '"1"', MONDAY, True)


def test_an_image_replaced_in_place_drops_its_validators_while_it_fails() -> None:
    """The shop changed the file, so the old validators must not confirm the old bytes."""
    row = after(fetched(), UNAVAILABLE, image(SAME.url, modified_at=LATER))
    assert (row.sha256, row.etag, row.shown_sha256) == (None, None, "a" * 64)


def test_an_image_that_is_gone_is_dropped_and_requested_weekly() -> None:
    """A 404 drops the bytes, and later failures of the host do not bring them back."""
    row = after(fetched(), GONE)
    assert (row.outcome.status, row.outcome.reasons) == (Status.REJECTED, (Reason.GONE,))
    assert row.outcome.next_retry_at == LATER + timedelta(days=7)
    assert row.shown_sha256 is None
    assert after(row, UNAVAILABLE).shown_sha256 is None


def test_a_file_that_is_too_large_keeps_its_size() -> None:
    """The size decides whether a raised cap requests it again."""
    error = BadReply("large", reason=Reason.FILE_TOO_LARGE, url="u", size_bytes=20_000_000)
    assert after(None, error).size_bytes == 20_000_000


def test_retry_after_sets_the_next_retry() -> None:
    """A Retry-After of six hours is obeyed."""
    error = HostUnavailable("429", reason=Reason.RATE_LIMITED, url="u", status=429, retry_after_s=21_600)
    assert after(None, error).outcome.next_retry_at == LATER + timedelta(hours=6)


def test_earlier_bytes_are_kept_until_new_ones_are_judged() -> None:
    """The newest few earlier digests are kept, each once, without the new one."""
    row = after(after(fetched(), NEW), Bytes("c" * 64, 1, httpx.Headers()))
    assert (row.sha256, row.older_sha256s) == ("c" * 64, ("b" * 64, "a" * 64))
    assert row.history == ("c" * 64, "b" * 64, "a" * 64)
    for sha256 in ("d", "e", "d"):
        row = after(row, Bytes(sha256 * 64, 1, httpx.Headers()))
    assert row.older_sha256s == ("e" * 64, "c" * 64, "b" * 64)
    assert after(row, Bytes(None, 0, httpx.Headers())).older_sha256s == row.older_sha256s
    assert after(row, UNAVAILABLE).history == row.history
    assert after(row, UNAVAILABLE, OTHER).history == row.history
    assert after(row, GONE).history == ()


def test_a_new_image_takes_over_the_history_of_the_one_it_replaced() -> None:
    """A shop gives every new image a new id; the previous primary image stands in for it."""
    image = ProductImage("1", OTHER, None, ("a" * 64, "z" * 64))
    assert row_after(image, NEW, now=LATER).history == ("b" * 64, "a" * 64, "z" * 64)
    assert row_after(image, UNAVAILABLE, now=LATER).history == ("a" * 64, "z" * 64)
    assert row_after(image, GONE, now=LATER).history == ()
