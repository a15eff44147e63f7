"""The command ``search``: products similar to a product or to an image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fashion_pipeline.cli.report import hit_line
from fashion_pipeline.cli.terminal import json_option
from fashion_pipeline.errors import NoSuchPoint, SettingsError, UnreadableImage
from fashion_pipeline.services import Services

if TYPE_CHECKING:
    from fashion_pipeline.sinks.qdrant.search import Match


@click.command(short_help="Find products similar to a product or an image.")
@click.argument("store")
@click.argument("product", required=False)
@click.option("--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Search by an image file.")
@click.option("--limit", type=click.IntRange(1, 100), default=5, help="Number of results.")
@click.option("--everywhere", is_flag=True, help="Search every store, not only STORE.")
@click.option("--sold-out", is_flag=True, help="Find sold-out products too.")
@json_option
def search(
    store: str,
    product: str | None,
    *,
    image: Path | None,
    limit: int,
    everywhere: bool,
    sold_out: bool,
    as_json: bool,
) -> None:
    """Find products similar to PRODUCT of STORE (its id in the shop), or to an image."""
    if (product is None) == (image is None):
        msg = "name a PRODUCT, or an image file with --image"
        raise click.UsageError(msg)
    services = Services.read()
    services.settings.store_list().require(store)
    hits: Sequence[Match] = ()
    within = None if everywhere else store
    if product is not None:
        hits = similar_to_product(services, store, product, within=within, limit=limit, sold_out=sold_out)
    elif image is not None:
        hits = _similar_to_image(services, store, image, within=within, limit=limit, sold_out=sold_out)
    if as_json:
        click.echo(json.dumps([{"score": hit.score, **hit.payload} for hit in hits]))
        return
    for hit in hits:
        click.echo(hit_line(hit))


def similar_to_product(
    services: Services, store_id: str, external_id: str, *, within: str | None, limit: int, sold_out: bool = False
) -> Sequence[Match]:
    """Return the published products nearest to one, in every store where ``within`` is None.

    Raises:
        NoSuchPoint: the product is not published.
    """
    from fashion_pipeline.sinks.desired import product_id
    from fashion_pipeline.sinks.qdrant.search import more_like

    try:
        with services.qdrant() as client:
            return more_like(client, product_id(store_id, external_id), store_id=within, limit=limit, sold_out=sold_out)
    except NoSuchPoint as error:
        msg = (
            f"product {external_id!r} of {store_id} cannot be searched for, as it is not in Qdrant; "
            f"to see why, run fashion-pipeline outcomes {store_id} {external_id}"
        )
        raise NoSuchPoint(msg) from error


def _similar_to_image(
    services: Services, store_id: str, image: Path, *, within: str | None, limit: int, sold_out: bool
) -> Sequence[Match]:
    from fashion_pipeline.images.quality import render_blob
    from fashion_pipeline.sinks.qdrant.search import search as search_points

    quality = services.settings.store_list().require(store_id).quality
    try:
        pixels = render_blob(image.read_bytes(), max_pixels=quality.max_pixels)
    except UnreadableImage as error:
        msg = f"--image {image}: {error}"
        raise SettingsError(msg) from error
    model = services.model()
    vector = model.encoder().encode(pixels[None])[0]
    fingerprint = model.checkpoint().fingerprint
    with services.qdrant() as client:
        return search_points(client, vector, fingerprint=fingerprint, store_id=within, limit=limit, sold_out=sold_out)
