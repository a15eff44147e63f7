from __future__ import annotations

from fashion_pipeline.errors import HostUnavailable, RefusedByHost
from fashion_pipeline.images.jobs import GIVEN_UP_AFTER, Host, Job, by_host
from fashion_pipeline.images.plan import ProductImage, Step
from fashion_pipeline.outcomes import Reason
from fashion_pipeline_tests.builders import fetched, image

UNAVAILABLE = HostUnavailable("503", reason=Reason.HTTP_ERROR, url="u", status=503)
GONE = RefusedByHost("404", reason=Reason.GONE, url="u", status=404)
FORBIDDEN = RefusedByHost("403", reason=Reason.HTTP_ERROR, url="u", status=403)


def test_a_host_that_keeps_failing_is_given_up() -> None:
    """Eight failures in a row give up a host for the run, so that a dead host cannot delay a store for hours."""
    for error in (UNAVAILABLE, FORBIDDEN):
        host = Host()
        for _ in range(GIVEN_UP_AFTER - 1):
            host.record(error, seconds=0)
        assert host.given_up is None
        host.record(error, seconds=0)
        assert host.given_up is error


def test_a_refusal_of_one_image_resets_the_failures() -> None:
    """A 404 between failures resets the count."""
    host = Host()
    for error in [*[UNAVAILABLE] * (GIVEN_UP_AFTER - 1), GONE, UNAVAILABLE]:
        host.record(error, seconds=0)
    assert host.given_up is None


def test_a_long_retry_after_gives_up_the_host() -> None:
    """A Retry-After that is too long for a run gives up the host at once."""
    host = Host()
    host.record(HostUnavailable("429", reason=Reason.RATE_LIMITED, url="u", status=429, retry_after_s=3600), seconds=0)
    assert host.given_up is not None


def test_jobs_are_grouped_by_host() -> None:
    """Images of one host share a queue, the longest queue comes first; invalid URLs have their own."""
    bad = ["http://a\n/", "http://xn--/1", "http://a.test/\ud800", "//a.test/"]
    urls = ["https://b.test/1", "https://a.test/1", "https://A.test/2", "http://a.test./3", "https://c.test/1"]
    hosts = by_host({url: Job(url) for url in [*urls, *bad]})
    assert [[job.url for job in host.jobs] for host in hosts] == [bad, urls[1:4], urls[:1], urls[4:]]


def test_a_host_with_slow_failures_is_given_up() -> None:
    """Failures may cost ten minutes per host in all, even with successes between them."""
    host = Host()
    for _ in range(9):
        host.record(UNAVAILABLE, seconds=60)
        host.record(GONE, seconds=60)
    assert host.given_up is None
    host.record(UNAVAILABLE, seconds=60)
    assert host.given_up is UNAVAILABLE


def test_a_shared_url_is_conditional_only_if_all_images_have_the_same_validators() -> None:
    """A 304 must be true for every image that uses the URL."""
    one = ProductImage("1", image("u"), fetched())
    other = ProductImage("2", image("u"), fetched(etag='"2"'))
    new = ProductImage("3", image("u"), None)
    assert Job("u", [one, one], {Step.CONFIRM}).conditions == {"If-None-Match": '"1"'}
    assert Job("u", [one, other], {Step.CONFIRM}).conditions == {}
    assert Job("u", [one, new], {Step.CONFIRM, Step.GET}).conditions == {}
