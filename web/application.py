"""Makes the application out of settings, an engine and a gallery."""

from __future__ import annotations

from flask_openapi.openapi import OpenAPI

from utils.calibration import load_calibration
from utils.embedding import BEST_MODEL, ModelFiles, load_engine
from utils.gallery import Gallery
from utils.identification import Identifier
from utils.speech import SpeechDetector
from web.openapi import make_app
from web.problems import answer_problems
from web.routes import make_routes
from web.settings import MEBI, Settings
from web.v1.common import DEFAULT_COLLECTION
from web.v1.questions import make_questions_routes

FORM_BYTES = MEBI  # what a form may hold beside the recording


def check(settings: Settings) -> None:
    """Looks whether an application can be made, and puts the gallery in order.

    Raises:
        NotReady: the network's files or the gallery cannot be opened.
    """
    model_id = ModelFiles(BEST_MODEL).model_id
    load_calibration(BEST_MODEL, model_id, settings.calibration)
    Gallery(settings.gallery, model_id).close()


def create_app(settings: Settings) -> OpenAPI:
    """Loads the network, opens the gallery, and makes one application over both.

    To be called in the process that serves: neither survives a fork.

    Raises:
        NotReady: the network's files or the gallery cannot be opened.
    """
    engine = load_engine(settings.engine, threads=settings.engine_threads)
    gallery = Gallery(settings.gallery, engine.model_id)
    identifier = Identifier(
        engine,
        gallery,
        SpeechDetector(),
        load_calibration(BEST_MODEL, engine.model_id, settings.calibration),
        settings.audio_limits,
        settings.quality_rules,
        settings.policy,
    )
    app = make_app()
    app.extensions["galleries"] = {DEFAULT_COLLECTION: identifier}
    app.config["MAX_CONTENT_LENGTH"] = settings.audio_limits.max_bytes + FORM_BYTES
    app.config["MAX_FORM_MEMORY_SIZE"] = FORM_BYTES
    for routes in (make_routes(settings.upload_roots), make_questions_routes()):
        app.register_api(routes)
    answer_problems(app, settings.max_mb)
    return app
