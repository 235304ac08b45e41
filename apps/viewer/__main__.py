"""Show source, result and difference in the browser: ``python -m apps.viewer SOURCE RESULT``."""

from __future__ import annotations

import webbrowser

from apps.viewer.server import NIIVUE, ViewerServer


def view(source: str, result: str, browser: bool = True, port: int = 0, series_uid: str = "") -> None:
    """Print the link of the page, open it, and serve until interrupted.

    Args:
        source: the image that was translated, or a folder with its DICOM series.
        result: its translation, on the same grid.
        browser: whether to open the page in the browser.
        port: port on 127.0.0.1; 0 chooses a free one.
        series_uid: series to take if the source is a folder with several series.

    Raises:
        FileNotFoundError: If an image does not exist, or NiiVue is not installed.
        ValueError: If an image is not a volume, or the grids differ.
    """
    if not NIIVUE.exists():
        raise FileNotFoundError(
            f"NiiVue, which draws the images, is not at {str(NIIVUE)!r}; install it with Node.js: "
            "npm ci --prefix apps/viewer (make view does)."
        )
    with ViewerServer(str(source), str(result), port, str(series_uid)) as server:
        print(f"viewer   {server.link}   (Ctrl-C ends it)", flush=True)
        try:
            if browser:
                webbrowser.open(server.link)
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    from bundle.runtime.commands import run_command

    run_command(view)
