from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from fashion_pipeline.images.opt_outs import opt_out
from fashion_pipeline.outcomes import Reason, Status
from fashion_pipeline_tests.builders import local_store
from fashion_pipeline_tests.images.fetching import Stage
from fashion_pipeline_tests.web.server import Answer, Site

IMAGE = b"\xff\xd8\xff an image"


@pytest.mark.parametrize(
    "value",
    ["noai", "noimageai", "noindex, NoImageAI", "googlebot: noai", "a: noindex, b: nofollow,noai ", "x:noai"],
)
def test_an_opt_out_is_found_in_any_spelling(value: str) -> None:
    """Case, spaces, other directives and a user agent's name do not hide it."""
    assert opt_out(httpx.Headers({"X-Robots-Tag": value}), url="u") is not None
    twice = httpx.Headers([("x-robots-tag", "noindex"), ("x-robots-tag", value)])
    assert opt_out(twice, url="u") is not None


@pytest.mark.parametrize(
    "value", ["", "noindex", "none", "noai-but", "unavailable_after: 25 Jun 2010 15:00:00 PST", "noai: noindex"]
)
def test_other_directives_are_no_opt_out(value: str) -> None:
    """Only noai and noimageai are; a search engine's noindex says nothing about AI."""
    assert opt_out(httpx.Headers({"X-Robots-Tag": value}), url="u") is None


async def test_an_image_whose_owner_opts_out_is_not_used(tmp_path: Path) -> None:
    """A known good image is dropped at its next revalidation, even by a 304, and comes back with the owner's consent."""
    async with Site({"/a.jpg": Answer(IMAGE, headers={"ETag": '"1"'})}) as site:
        stage = Stage(tmp_path, site)
        await stage.run()
        assert stage.row.outcome.ok
        site.answers["/a.jpg"] = Answer(status=304, headers={"X-Robots-Tag": "noai"})
        stage.clock.advance(days=7)
        await stage.run(sweep=True)
        assert (stage.row.outcome.status, stage.row.outcome.reasons) == (Status.REJECTED, (Reason.OPTED_OUT,))
        assert stage.row.shown_sha256 is None
        assert "opt_outs: ignore" in stage.row.outcome.detail
        await stage.run()
        assert len(stage.asked()) == 2
        site.answers["/a.jpg"] = Answer(IMAGE, headers={"X-Robots-Tag": "bot: noimageai"})
        stage.store = local_store(site.url(), opt_outs="ignore")
        await stage.run()
        assert stage.row.outcome.ok
