"""Opening a dropped file, and letting it go. Pure steps."""

from headrace.agents.directory.file import DroppedFile
from headrace.agents.effects import Close, NotOpened, Open, Steps
from headrace.agents.tail.identity import is_gzip_name


def open_file(file: DroppedFile) -> Steps[str]:
    """Open a file that is as it was found; returns why it is not for us to read, where that is so.

    One that has changed is opened, too, to look whether what was on its way at a crash is still in it.
    """
    packed = is_gzip_name(file.path) and (file.stream.input is None or file.stream.input.decompress)
    opened = yield Open(file.path, packed)
    if isinstance(opened, NotOpened):
        return opened.reason if opened.denied else ""
    if (*opened.stat.key, opened.stat.birth_ns) != file.key[:3] or not (file.ending or file.is_as_begun(opened.stat)):
        yield Close(opened.handle)
        return ""
    file.handle, file.packed = opened.handle, opened.trailer is not None
    return ""


def close(file: DroppedFile) -> Steps[None]:
    """Let go of a file."""
    handle, file.handle = file.handle, None
    file.stream.release()
    if handle is not None:
        yield Close(handle)
