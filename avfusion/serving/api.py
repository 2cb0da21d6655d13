"""The HTTP side of a server: an upload page and a JSON API."""

import base64
import errno
import hashlib
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from avfusion.runtime.errors import describe_os_error
from avfusion.serving.jobs import DISK_FULL, OURS, Job, Jobs, State
from avfusion.serving.model_process import VIDEO, ServedModel
from avfusion.serving.refusal import RefusalError
from avfusion.serving.upload import FIELD, drain, receive_upload

if TYPE_CHECKING:
    from avfusion.inference.streams import People

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
MEDIA_TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8"}
PEOPLE: dict[str, "People"] = {"main": "main", "all": "all"}
_FORM = {"type": "object", "properties": {FIELD: {"type": "string", "format": "binary"}}, "required": [FIELD]}
_UPLOAD = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}
_log = logging.getLogger(__name__)


def page_policy() -> str:
    """The page's content security policy: its own script and style only, and requests to this server only."""
    hashes = {kind: _hash(re.search(rf"<{kind}>(.*?)</{kind}>", PAGE, re.DOTALL)) for kind in ("script", "style")}
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        "img-src data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(found: re.Match[str] | None) -> str:
    assert found is not None
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"


def create_app(jobs: Jobs, model: ServedModel) -> FastAPI:
    """The application; it must run inside the context of `jobs`."""
    app = FastAPI(title="avfusion", docs_url=None, redoc_url=None)  # those pages load scripts from other hosts
    app.add_exception_handler(RefusalError, _refused)
    app.add_exception_handler(OSError, _disk_failed)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _no_such_thing)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _failed)

    @app.get("/", response_class=HTMLResponse)
    async def page() -> str:
        return PAGE

    @app.get("/health")
    async def health() -> dict[str, Any]:
        limits = jobs.limits
        return {
            "status": "ok",
            "model": {"name": model.name, "digest": model.digest, "notes": model.notes},
            "jobs": {state.value: jobs.count(state) for state in State},
            "limits": {"upload_bytes": limits.upload_bytes, "video_s": limits.video_s, "kept_s": limits.kept_s},
        }

    @app.post("/api/jobs", status_code=202, openapi_extra=_UPLOAD)
    async def create(request: Request, response: Response, people: str = "main") -> dict[str, Any]:
        """Accept a video: inspect it before answering, predict it when its turn comes."""
        try:
            if people not in PEOPLE:
                raise RefusalError(400, f"people is {people[:20]!r}: must be one of {', '.join(PEOPLE)}")
            jobs.check_room()
        except RefusalError:
            await drain(request.stream())
            raise
        with jobs.place() as folder:
            name = await receive_upload(request, folder / VIDEO, jobs.limits)
            inspection = await jobs.inspect(folder, name)
            if await request.is_disconnected():
                raise ClientDisconnect
            job = jobs.add(folder, name, inspection, PEOPLE[people])
        response.headers["Location"] = f"/api/jobs/{job.id}"
        return _described(jobs, job)

    @app.get("/api/jobs/{job_id}")
    async def state(job_id: str) -> dict[str, Any]:
        return _described(jobs, jobs.find(job_id))

    @app.get("/api/jobs/{job_id}/result", response_class=Response)
    async def result(job_id: str, format: str = "json", person: int = 1) -> Response:
        if format not in MEDIA_TYPES:
            raise RefusalError(400, f"format is {format[:20]!r}: must be one of {', '.join(MEDIA_TYPES)}")
        if format == "json" and person != 1:
            raise RefusalError(400, f"person is {person}: the JSON holds everybody, person goes with format=csv")
        job = jobs.find(job_id)
        whose = f".person-{person}" if format == "csv" and person != 1 else ""
        name = quote(f"{Path(job.name).stem}{whose}.{format}", safe="")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        return Response(await jobs.read_result(job, format, person), media_type=MEDIA_TYPES[format], headers=headers)

    @app.delete("/api/jobs/{job_id}", status_code=204)
    async def delete(job_id: str) -> None:
        """End a waiting or running job and remove its files."""
        jobs.find(job_id)
        jobs.remove(job_id)

    return app


def _described(jobs: Jobs, job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "video": job.name,
        "frames": job.frames,
        "duration_s": round(job.duration_s, 6),
        "state": job.state.value,
        "ahead": jobs.ahead_of(job),
        "phase": job.phase,
        "done": job.done,
        "total": job.total,
        "error": job.error or None,
    }


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if request.method == "POST":  # the rest of the request is not read
        headers["Connection"] = "close"
    return JSONResponse({"error": str(error)}, error.status, headers)


async def _disk_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    _log.error("%s: %s", request.method, describe_os_error(error))
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return await _refused(request, RefusalError(507 if full else 500, DISK_FULL if full else OURS))


async def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [f"{fault['loc'][-1]} is {str(fault['input'])[:20]!r}: {fault['msg']}" for fault in error.errors()]
    return JSONResponse({"error": "; ".join(faults)}, 400)


async def _no_such_thing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = f"{request.method} {request.url.path[:100]}: {error.detail}"
    return JSONResponse({"error": text}, error.status_code, {**(error.headers or {}), "Connection": "close"})


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # the client is gone


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its log says how"}, 500, {"Connection": "close"})
