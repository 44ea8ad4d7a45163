"""Debian's Chromium, headless: what it makes of a page, as a document and as pixels."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import matplotlib.image as pictures
import numpy as np

_FLAGS: Final = [
    "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_SCHEMES: Final = {True: "--blink-settings=preferredColorScheme=0", False: "--blink-settings=preferredColorScheme=1"}


@dataclass(frozen=True)
class Seen:
    """The document when its scripts have run, and what was drawn: rows × columns × (red, green, blue), 0 to 255."""

    document: str
    pixels: np.ndarray


def browse(
    url: str, folder: Path, missing: Callable[[str, str], NoReturn], *, dark: bool = False, size: tuple[int, int] = (1200, 500)
) -> Seen:
    """Open a page; skip where there is no Chromium. `folder` is for its profile and the picture."""
    chromium = shutil.which("chromium") or missing("chromium", "apt-get install chromium")
    picture = folder / "seen.png"
    asked = [f"--user-data-dir={folder / 'profile'}", "--window-size={},{}".format(*size), _SCHEMES[dark]]
    command = [chromium, *_FLAGS, *asked, "--dump-dom", f"--screenshot={picture}", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return Seen(done.stdout, pixels_of(picture))


def pixels_of(picture: Path) -> np.ndarray:
    """A PNG's pixels, as `Seen` has them."""
    read: Any = pictures.imread(picture)
    return (read[..., :3] * 255).round().astype(int)


def cells_of(pixels: np.ndarray, colour: str, height: int = 12) -> int:
    """How many cells a picture has in a colour (`#rrggbb`), whatever is written in them: left edges at least so high."""
    wanted = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    alike = (pixels == wanted).all(axis=2)
    edges = alike & ~np.pad(alike, ((0, 0), (1, 0)))[:, :-1]
    high = np.lib.stride_tricks.sliding_window_view(edges, height, axis=0).all(axis=2)
    return int((high & ~np.pad(high, ((1, 0), (0, 0)))[:-1]).sum())
