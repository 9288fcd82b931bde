"""Puts the gateway together: FastAPI in front, the reception behind it, health and schemas beside it."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from unsilo_schemas import jsonschema
from unsilo_schemas.catalogue import EVENT_TYPES
from unsilo_schemas.topics import Topics
from uvicorn.middleware.proxy_headers import _TrustedHosts

from ..config_topic import ConfigFollower
from ..kafka import Kafka, KafkaUnavailable
from ..logs import configure_logs
from ..metrics import REQUESTS
from ..missing_topics import create_missing
from ..settings import HubSettings
from ..stranded import StrandedWatch
from .answers import NO_ADDRESS, PROBLEM_TYPE, PROBLEMS, UNKNOWN, WRONG_METHOD, Problem
from .http import BoundedHttp, head_bytes
from .lines import Lines, most_files, most_lines
from .receive import Accepted, Arrival, Reception, SenderGone
from .store import Store

log = logging.getLogger(__name__)

SERVICE = "gateway"
_PROBE_SECONDS = 2.0
_PROBE_PAUSE_SECONDS = 1.0
_DRAIN_SECONDS = 20


def create_app(kafka: Kafka, topics: Topics, follower: ConfigFollower) -> FastAPI:
    """The gateway as an ASGI application. Nothing is connected, and no configuration followed, before it starts."""
    state = _State()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(follower.start)
        await asyncio.to_thread(create_missing, kafka, follower.current, topics)
        reception = Reception(follower, await asyncio.to_thread(Store, kafka), topics)
        state.reception = reception
        probe = asyncio.create_task(_probe(kafka, topics, state, reception, follower))
        yield
        probe.cancel()
        left = await asyncio.to_thread(reception.store.flush, _DRAIN_SECONDS)
        if left:
            log.error("%d records could not be stored before the end; none of them was acknowledged", left)
        await asyncio.to_thread(follower.stop)

    app = FastAPI(title="unsilo gateway", lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    refusals = {problem.status: {"description": problem.title} for problem in PROBLEMS}

    @app.post("/in/{connection}", status_code=202, responses=refusals)  # type: ignore[arg-type]  # FastAPI's key type
    async def receive(connection: str, request: Request) -> Response:
        """Takes a vendor's delivery. 202 once Kafka has it with acks=all."""
        headers = dict(request.headers)
        address = request.client.host if request.client else UNKNOWN
        assert state.reception is not None  # noqa: S101  # the lifespan made it before the first request
        size = head_bytes(request.scope["headers"])
        return _response(await state.reception.receive(Arrival(connection, headers, _chunks(request), address, size)))

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, error: HTTPException) -> Response:
        """What is no delivery: the web framework has found no address or no method for it."""
        problem = {each.status: each for each in (NO_ADDRESS, WRONG_METHOD)}.get(error.status_code)
        if problem is None:
            return Response(status_code=error.status_code, headers=error.headers)
        REQUESTS.labels(UNKNOWN, problem.name).inc()
        response = _response(problem)
        response.headers.update(error.headers or {})
        return response

    @app.get("/schemas/{file}")
    async def schema(file: str) -> Response:
        """The JSON Schema that an event's `dataschema` names."""
        event = EVENT_TYPES.get(file.removesuffix(".json"))
        if event is None:
            return Response(status_code=404)
        return Response(jsonschema.text(event), media_type="application/schema+json")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/health/live")
    async def live() -> dict[str, bool]:
        """Whether the process works at all."""
        return {"ok": True}

    @app.get("/health/ready")
    async def ready(response: Response) -> dict[str, bool]:
        """Whether deliveries can be stored now."""
        response.status_code = 200 if state.reachable else 503
        return {"ok": state.reachable}

    return app


def run(settings: HubSettings) -> None:
    """Serves until SIGTERM or SIGINT, then answers what is in flight and ends.

    So it does where the configuration can be followed no longer, and then raises what stands in the way.
    """
    configure_logs(settings, SERVICE)
    kafka = Kafka.from_settings(settings)
    kafka.wait(60)
    topics = Topics(settings.topic_prefix)
    kafka.create(topics.fixed())
    follower = ConfigFollower(kafka, topics.config(), SERVICE)
    watch = StrandedWatch(kafka)
    watch.watch_reader(follower)
    watch.start()
    log.info("gateway at http://%s:%d/in/", settings.gateway_host, settings.gateway_port)
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when all is done: that is no failure
    uvicorn.run(
        create_app(kafka, topics, follower),
        host=settings.gateway_host,
        port=settings.gateway_port,
        http=_http(settings),
        ws="none",
        loop="uvloop",
        access_log=False,
        server_header=False,
        log_config=None,
        proxy_headers=bool(settings.gateway_trusted_proxies),
        forwarded_allow_ips=settings.gateway_trusted_proxies or None,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    for failure in (follower.failure, watch.failure):
        if failure is not None:
            raise failure


def _http(settings: HubSettings) -> type[BoundedHttp]:
    """The HTTP of this process, whose network connections are counted together."""
    files = most_files()
    most = most_lines(files)
    of_one = settings.gateway_connections_per_address
    log.info("%d files may be open, so %d network connections, %d from one address", files, most, of_one)

    class Http(BoundedHttp):
        lines = Lines(most, of_one, _TrustedHosts(settings.gateway_trusted_proxies).__contains__)

    return Http


class _State:
    def __init__(self) -> None:
        self.reception: Reception | None = None
        self.reachable = False


def _response(answer: Accepted | Problem) -> Response:
    if isinstance(answer, Accepted):
        return Response(answer.body, answer.status, media_type=answer.content_type)
    retry = {} if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
    return Response(answer.body, answer.status, retry, media_type=PROBLEM_TYPE)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise SenderGone from None


async def _probe(kafka: Kafka, topics: Topics, state: _State, reception: Reception, follower: ConfigFollower) -> None:
    while True:
        if follower.failure is not None:
            signal.raise_signal(signal.SIGTERM)  # drains and ends: whoever started us starts us again
            return
        try:
            await asyncio.to_thread(kafka.wait, _PROBE_SECONDS)
            if reception.store.broken:
                log.error("the producer is given up, has lost Kafka or a topic: another takes its place")
                await asyncio.to_thread(create_missing, kafka, follower.current, topics)
                reception.store = await asyncio.to_thread(Store, kafka)
            if not state.reachable:
                log.info("Kafka answers at %s", kafka.bootstrap)
            state.reachable = True
        except KafkaUnavailable as error:
            if state.reachable:
                log.error("%s: deliveries are answered 503", error.operator)
            state.reachable = False
        except Exception:
            log.exception("Kafka could not be looked after; that is tried again")
        await asyncio.sleep(_PROBE_PAUSE_SECONDS)
