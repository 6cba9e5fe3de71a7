"""What a deletion took away, as an answer."""

from __future__ import annotations

from pydantic import BaseModel, Field


class DeletedFileOut(BaseModel):
    """A file that was removed."""

    name: str = Field(description="under the gallery's folder")
    sha256: str | None = Field(description="null of a file that could not be read")
    bytes: int


class ReceiptOut(BaseModel):
    """What a deletion took away."""

    speaker_id: str
    deleted_at: str = Field(description="UTC, ISO 8601")
    files: list[DeletedFileOut]
    verified_gone: bool = Field(description="whether the disk, asked again, has none of them")
