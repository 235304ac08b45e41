"""A tiny DICOM archive on this machine for the tests: it stores, finds and returns instances, and never replaces one.

As in a hospital's archive (PS3.4, B.4.2.2) the SOP Instance UID is the key; an instance that comes a second time has to
be the same, or is a clash.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt

#: SOP classes (PS3.4, annex A and C.6.2): echo, find and get at the study root.
VERIFICATION, FIND, GET = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
#: What is told of a series when it is found.
SERIES = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SeriesDescription", "Modality")
#: Status (PS3.7, annex C; PS3.4, C.4): done, more to come, a clash.
SUCCESS, PENDING, DUPLICATE = 0x0000, 0xFF00, 0x0111


class Archive:
    """What is stored, by SOP Instance UID, and what clashed.

    Args:
        port: that it listens at; set when it runs.
    """

    def __init__(self) -> None:
        self.port = 0
        self.instances: dict[str, Dataset] = {}
        self.clashes: list[str] = []

    def store(self, event: evt.Event) -> int:
        """Keep an instance, unless another one has its UID."""
        given = event.dataset
        given.file_meta = event.file_meta
        kept = self.instances.setdefault(str(given.SOPInstanceUID), given)
        if kept == given:
            return SUCCESS
        self.clashes.append(str(given.SOPInstanceUID))
        return DUPLICATE

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        """Tell each series that fits, once."""
        told = set()
        for instance in self._matching(event.identifier):
            if instance.SeriesInstanceUID not in told:
                told.add(instance.SeriesInstanceUID)
                answer = Dataset()
                answer.QueryRetrieveLevel = "SERIES"
                for keyword in SERIES:
                    setattr(answer, keyword, instance.get(keyword))
                yield PENDING, answer

    def get(self, event: evt.Event) -> Iterator[int | tuple[int, Dataset]]:
        """Return each instance that fits."""
        found = self._matching(event.identifier)
        yield len(found)
        for instance in found:
            yield PENDING, instance

    def _matching(self, query: Dataset) -> list[Dataset]:
        asked = {e.keyword: e.value for e in query if e.value and e.keyword != "QueryRetrieveLevel"}
        fits = [all(instance.get(k) == v for k, v in asked.items()) for instance in self.instances.values()]
        return [instance for instance, fit in zip(self.instances.values(), fits, strict=True) if fit]


@contextmanager
def running() -> Iterator[Archive]:
    """An archive that listens at a free port of this machine, in a thread."""
    archive, entity = Archive(), AE("ARCHIVE")
    for context in (VERIFICATION, FIND, GET):
        entity.add_supported_context(context)
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
    handlers: list[Any] = [
        (evt.EVT_C_STORE, archive.store),
        (evt.EVT_C_FIND, archive.find),
        (evt.EVT_C_GET, archive.get),
    ]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None and server.socket is not None
    archive.port = server.socket.getsockname()[1]
    try:
        yield archive
    finally:
        server.shutdown()


@contextmanager
def _connected(archive: Archive, contexts: Sequence[str], handlers: Sequence = (), roles: Sequence = ()) -> Iterator:
    entity = AE("ENGINEER")
    for context in contexts:
        entity.add_requested_context(context, ExplicitVRLittleEndian)
    link = entity.associate("127.0.0.1", archive.port, evt_handlers=list(handlers), ext_neg=list(roles))
    assert link.is_established
    try:
        yield link
    finally:
        link.release()


def send(archive: Archive, files: Sequence[Path]) -> list[int]:
    """Store files (C-STORE); the status of each."""
    with _connected(archive, [CTImageStorage]) as link:
        return [link.send_c_store(pydicom.dcmread(file)).Status for file in files]


def find(archive: Archive, **asked: str) -> list[Dataset]:
    """The series that fit (C-FIND)."""
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    for keyword in SERIES:
        setattr(query, keyword, asked.get(keyword, ""))
    with _connected(archive, [FIND]) as link:
        answers = list(link.send_c_find(query, FIND))
    assert answers[-1][0].Status == SUCCESS
    return [found for _, found in answers if found is not None]


def pull(archive: Archive, folder: Path, **asked: str) -> list[Path]:
    """Fetch the instances that fit into a folder (C-GET), named by their UIDs."""
    folder.mkdir(parents=True)
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    for keyword, value in asked.items():
        setattr(query, keyword, value)

    def keep(event: evt.Event) -> int:
        given = event.dataset
        given.file_meta = event.file_meta
        given.save_as(folder / str(given.SOPInstanceUID), enforce_file_format=True)
        return SUCCESS

    roles = [build_role(CTImageStorage, scp_role=True)]
    with _connected(archive, [GET, CTImageStorage], [(evt.EVT_C_STORE, keep)], roles) as link:
        answers = list(link.send_c_get(query, GET))
    assert answers[-1][0].Status == SUCCESS
    return sorted(folder.iterdir())
