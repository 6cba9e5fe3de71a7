"""Makes the application out of settings, an engine and a gallery."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

from flask_openapi.openapi import OpenAPI

from utils.admission import Admission
from utils.audio import AudioLimits, decode
from utils.audio.cage import MEMORY_MB, Cage, lacking
from utils.calibration import load_calibration
from utils.collections import DEFAULT, Collections
from utils.embedding import BEST_MODEL, ModelFiles, load_engine
from utils.errors import NotReady
from utils.identification import Identifier
from utils.place import Place, find_place
from utils.sealing import find_seal
from utils.speech import SpeechDetector
from web.access import guard
from web.coarse import show_in_steps
from web.console import make_console
from web.logs import log_requests
from web.loopback import is_loopback
from web.metrics import count_requests
from web.openapi import describe_access, make_app
from web.overload import refuse_early
from web.problems import answer_problems
from web.routes import make_routes
from web.settings import MEBI, Settings
from web.v1.batch import make_batch_routes
from web.v1.collections import make_collections_routes
from web.v1.galleries import make_galleries_routes
from web.v1.live import answer_live
from web.v1.questions import make_questions_routes
from web.v1.segments import make_segments_routes
from web.v1.speakers import make_speakers_routes

log = logging.getLogger(__name__)

FORM_BYTES = MEBI  # what a form may hold beside the recording


def check(settings: Settings) -> None:
    """Looks whether an application can be made, and puts the gallery in order.

    Raises:
        NotReady: the network's files or the gallery cannot be opened, recordings are to be
            decoded in processes apart and those do not start, or other machines would be let in
            without keys.
    """
    model_id = ModelFiles(BEST_MODEL).model_id
    load_calibration(BEST_MODEL, model_id, settings.calibration)
    with _place(settings) as place:
        place.open_gallery(DEFAULT, model_id).close()
        _check_reach(settings, place)
    _check_cage(settings)


def _place(settings: Settings) -> Place:
    return find_place(settings.gallery, find_seal(settings.gallery_key_file))


def _check_reach(settings: Settings, place: Place) -> None:
    """Whoever is reached by other machines asks for keys, or was told not to."""
    if place.keys().is_configured():
        return
    if is_loopback(settings.host):
        log.info("there are no keys: only this machine may ask (docs/access.md)")
    elif settings.open:
        log.warning("open: whoever reaches port %d may do everything", settings.port)
    else:
        raise NotReady(
            f"--host {settings.host} lets other machines in, and there are no keys. Make one with "
            f"`python -m utils.keys --gallery {place.shown} create --role admin`, or insist "
            "on --open."
        )


def _check_cage(settings: Settings) -> None:
    """Whoever asked for decoding processes gets them, or is told; `auto` may do without."""
    if settings.decoders == "auto":
        if missing := lacking():
            log.warning(
                "recordings are decoded in the server's own process: a cage needs %s", missing
            )
    elif settings.decoders:
        _start_cage(settings, 1).close()


def _open_cage(settings: Settings) -> Cage | None:
    """Starts the decoding processes, if any are wanted and, with `auto`, can be had."""
    if settings.decoders == "auto":
        if lacking():
            return None  # `_check_cage` has said so
        try:
            return _start_cage(settings, settings.decoders_wanted)
        except NotReady as error:
            log.warning("recordings are decoded in the server's own process: %s", error)
            return None
    return _start_cage(settings, settings.decoders) if settings.decoders else None


def _start_cage(settings: Settings, processes: int) -> Cage:
    """Longer recordings take more memory."""
    longer = max(1.0, settings.max_seconds / AudioLimits.max_seconds)
    return Cage(processes, round(MEMORY_MB * longer))


def create_app(settings: Settings) -> OpenAPI:
    """Loads the network, opens the gallery, and makes one application over both.

    To be called in the process that serves: neither survives a fork.

    Raises:
        NotReady: the network's files or the gallery cannot be opened, or decoding processes that
            are wanted do not start.
    """
    with ThreadPoolExecutor(1) as beside:
        opening = beside.submit(_open_cage, settings)  # its processes start while this one loads
        engine = load_engine(settings.engine, threads=settings.engine_threads)
        calibration = load_calibration(BEST_MODEL, engine.model_id, settings.calibration)
        detector = SpeechDetector()
        cage = opening.result()

    place = _place(settings)
    admission = Admission(settings.threads, settings.max_waiting, settings.max_wait_s)

    def open_one(collection: str) -> Identifier:
        gallery = place.open_gallery(
            collection,
            engine.model_id,
            calibration_id=calibration.calibration_id,
            keep_recordings=settings.keep_recordings,
        )
        return Identifier(
            engine,
            gallery,
            detector,
            calibration,
            settings.audio_limits,
            settings.quality_rules,
            settings.policy,
            decode if cage is None else cage.decode,
            admission,
        )

    keys, collections = place.keys(), Collections(place, open_one)
    app = make_app()
    app.extensions["galleries"] = collections
    app.extensions["decoders"] = cage  # None: recordings are decoded in this process
    app.config["MAX_CONTENT_LENGTH"] = settings.audio_limits.max_bytes + FORM_BYTES
    app.config["MAX_FORM_MEMORY_SIZE"] = FORM_BYTES
    log_requests(app)
    count_requests(app, collections)
    guard(app, keys, settings.access_rules)
    refuse_early(app, admission)
    show_in_steps(app)
    for routes in (
        make_routes(settings.upload_roots),
        make_questions_routes(),
        make_batch_routes(),
        make_segments_routes(),
        make_speakers_routes(),
        make_galleries_routes(),
        make_collections_routes(collections, keys),
    ):
        app.register_api(routes)
    answer_live(app, settings.max_live)
    describe_access(app)
    app.register_blueprint(make_console())
    answer_problems(app, settings.max_mb)
    return app
