"""What is done with recordings while no more of them may wait: as little as can be."""

from __future__ import annotations

from flask import Flask, request

from utils.admission import Admission
from utils.errors import Overloaded

_PIECE = 1 << 16  # bytes


def refuse_early(app: Flask, admission: Admission) -> None:
    """Has uploads refused before they are taken apart, which takes longer than all the rest."""

    @app.before_request
    def _look() -> None:
        if request.mimetype == "multipart/form-data" and admission.is_full:
            # a connection that is closed with something unread in it may lose the answer
            while request.stream.read(_PIECE):
                pass
            raise Overloaded
