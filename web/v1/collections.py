"""Separate galleries of one server, for whoever looks after it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import g
from flask_openapi.blueprint import APIBlueprint
from pydantic import BaseModel, Field

from utils.collections import DEFAULT, Collections
from utils.errors import NotAllowed
from utils.keys import KeyStore
from web.v1.bodies import Body, described, read_body
from web.v1.common import make_blueprint
from web.v1.receipts import ReceiptOut


class CollectionOut(BaseModel):
    """One collection."""

    name: str
    speakers: int = Field(description="who can be found in it")


class CollectionsOut(BaseModel):
    """All collections."""

    collections: list[CollectionOut]


class CollectionReceiptOut(BaseModel):
    """What a collection's deletion took away."""

    name: str
    deleted_at: str
    speakers: list[ReceiptOut]
    keys_revoked: list[str] = Field(description="IDs of the keys that were for it")
    verified_gone: bool = Field(description="whether the disk, asked again, has nothing of it")


class CollectionBody(Body):
    name: str = Field(description="1 to 64 small letters, digits, '-' and '_'")


class CollectionPath(BaseModel):
    name: str


def make_collections_routes(collections: Collections, keys: KeyStore) -> APIBlueprint:
    """These routes are for admin keys of the default collection."""
    routes = make_blueprint("collections", "Separate galleries, whose voices are never compared.")

    @routes.get("/collections", responses={"200": CollectionsOut})
    def list_collections() -> dict[str, Any]:
        """Which collections are there?"""
        _require_default()
        names = collections.names()
        shown = [{"name": one, "speakers": len(collections[one].gallery)} for one in names]
        return {"collections": shown}

    @routes.post(
        "/collections", request_body=described(CollectionBody), responses={"201": CollectionOut}
    )
    def create_collection() -> tuple[dict[str, Any], int]:
        """Makes an empty collection."""
        _require_default()
        name = read_body(CollectionBody).name
        collections.create(name)
        return {"name": name, "speakers": 0}, 201

    @routes.delete("/collections/<name>", responses={"200": CollectionReceiptOut})
    def delete_collection(path: CollectionPath) -> dict[str, Any]:
        """Removes a collection, its speakers and its keys."""
        _require_default()
        receipt = asdict(collections.delete(path.name))
        ending = [key for key in keys.listed() if key.collection == path.name]
        revoked = [keys.revoke(key.key_id).key_id for key in ending if key.revoked_at is None]
        return {**receipt, "keys_revoked": revoked}

    return routes


def _require_default() -> None:
    if g.get("collection", DEFAULT) != DEFAULT:
        raise NotAllowed("Collections are looked after with an admin key of the default one.")
