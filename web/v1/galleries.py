"""A whole collection: what it holds, who sounds alike, out as one archive and in again."""

from __future__ import annotations

import io
import tempfile
from dataclasses import asdict
from typing import Any, Literal

from flask import Response, g, send_file
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field

from utils.collections import DEFAULT
from utils.gallery.archive import export_gallery, import_gallery
from utils.lookalikes import nearest_pairs
from web.v1.bodies import Body, Clip, described, read_body
from web.v1.common import current_identifier, make_blueprint
from web.v1.receipts import ReceiptOut
from web.v1.schemas import ImportOut, LookAlikesOut

IN_MEMORY = 8 * 2**20  # of an export; what is more waits on the disk
ZIP = "application/zip"


class GalleryOut(BaseModel):
    """One collection's gallery."""

    collection: str
    speakers: int = Field(description="who can be found")
    files_skipped: int = Field(description="that take no part; `evaluation gallery` names them")
    model_id: str = Field(description="of the network whose embeddings are searched")
    calibration_id: str | None = Field(description="of what scores mean")
    keeps_recordings: bool = Field(description="whether the sound of enrolments is kept")
    max_fpir: float = Field(description="of strangers, the share that may be taken for somebody")


class PairsQuery(BaseModel):
    limit: int = Field(20, ge=1, le=1000, description="pairs that are wanted")


class PurgeOut(BaseModel):
    """Everybody whose consent had ended."""

    receipts: list[ReceiptOut]


class ImportBody(Body):
    archive: Clip = Field(description="what an export wrote")
    on_conflict: Literal["refuse", "skip", "replace"] = Field(
        "refuse", description="about IDs that are enrolled here already"
    )


def make_galleries_routes() -> APIBlueprint:
    routes = make_blueprint("gallery", "A whole collection.")

    @routes.get("/gallery", responses={"200": GalleryOut})
    def show_gallery() -> dict[str, Any]:
        """How many are enrolled, and by which network?"""
        identifier = current_identifier()
        gallery = identifier.gallery
        return {
            "collection": g.get("collection", DEFAULT),
            "speakers": len(gallery),
            "files_skipped": len(gallery.skipped),
            "model_id": gallery.model_id,
            "calibration_id": gallery.calibration_id,
            "keeps_recordings": gallery.keeps_recordings,
            "max_fpir": identifier.policy.max_fpir,
        }

    @routes.get("/gallery/look-alikes", responses={"200": LookAlikesOut})
    def look_alikes(query: PairsQuery) -> dict[str, Any]:
        """Who may be taken for whom? Nearest first; takes seconds with thousands of speakers."""
        identifier = current_identifier()
        now = identifier.gallery.snapshot()
        return {
            "pairs": [
                {
                    "first": pair.speaker_ids[0],
                    "second": pair.speaker_ids[1],
                    "score": round(pair.cosine, 3),
                    "stranger_chance": float(f"{pair.chance:.3g}"),
                    "likely_duplicate": pair.is_likely_duplicate,
                }
                for pair in nearest_pairs(now, identifier.calibration, query.limit)
            ]
        }

    @routes.get(
        "/gallery/export",
        responses={"200": {"content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}}},
    )
    def export() -> Response:
        """The whole collection as one archive, with a checksum of everything in it."""
        target = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (the answer closes it)
        export_gallery(current_identifier().gallery, target)  # type: ignore[arg-type]
        target.seek(0)
        name = f"gallery-{g.get('collection', DEFAULT)}.zip"
        return send_file(target, ZIP, as_attachment=True, download_name=name)

    @routes.post(
        "/gallery/import", request_body=described(ImportBody), responses={"200": ImportOut}
    )
    def bring_in() -> dict[str, Any]:
        """Enrols everybody of an archive, with times, consent and sound as they were.

        The whole archive is checked before anything is changed. Larger ones than a request may
        be: `python -m utils.gallery import`.
        """
        body = read_body(ImportBody)
        source = io.BytesIO(body.archive) if isinstance(body.archive, bytes) else body.archive
        report = import_gallery(current_identifier().gallery, source, on_conflict=body.on_conflict)
        return asdict(report)

    @routes.post("/gallery/purge", responses={"200": PurgeOut})
    def purge() -> dict[str, Any]:
        """Deletes everybody whose consent has ended."""
        receipts = current_identifier().gallery.purge_expired()
        return {"receipts": [asdict(one) for one in receipts]}

    return routes
