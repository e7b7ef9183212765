"""Which items an archive gets from the sources of a command, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smalti.cli.files import PIPE, Job, check, check_sources, files_of
from smalti.codecs.bitstream.names import key_of
from smalti.codecs.media.files import check_place
from smalti.tokenizers.errors import UsageError


def plan_archive(sources: Sequence[str], archive: str, wanted: tuple[str, ...], force: bool, as_json: bool) -> list[Job]:
    """One job for each item, all with the archive as their target; UsageError where that cannot be written, exists already (without
    `force`), or two items would have one name.

    Files are called by their own names, files of a folder by their paths in it; with several sources the folder's name comes first.
    wanted, as_json: as for `plan`.
    """
    if archive != PIPE and Path(archive).suffix.lower() != ".smt":  # --archive *.jpg would write over a picture
        raise UsageError(f"{archive}: the name of an archive ends in .smt; choose such a name for --archive")
    jobs: list[Job] = []
    for source in sources:
        if source == PIPE:
            jobs.append(Job(PIPE, archive, ""))
        elif Path(source).is_dir():
            folder = Path(source)
            above = Path(folder.resolve().name) if len(sources) > 1 else Path()
            jobs += [Job(str(path), archive, key_of(above / path.relative_to(folder))) for path in files_of(folder, wanted)]
        else:
            jobs.append(Job(source, archive, key_of(Path(Path(source).name))))
    seen: dict[int | str | None, str] = {"": ""}
    for job in jobs:
        if job.key and job.key in seen:
            raise UsageError(f"{job.source} and {seen[job.key]} would both be the item {job.key}; name a folder that holds both")
        seen[job.key] = job.source
    check([Job(f"{len(jobs)} sources", archive)], force, as_json, "--archive")
    if archive != PIPE and Path(archive).parent.is_dir():
        check_place(archive)
    check_sources(jobs)
    return jobs
