"""A chart as a notebook displays it: a picture that says in its alternative text what it shows."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import Any

from incident_lib.model import hide_ids


def bundle(png: bytes, alt: str, caption: str, width: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A picture in every form that a frontend may choose, and their metadata.

    JupyterLab and nbconvert ignore the alternative text of an `image/png`. All of them prefer `text/html`, and show its
    `alt`; `text/plain` is what a diff compares.
    """
    picture, alt, caption = b64encode(png).decode(), hide_ids(alt), hide_ids(caption)
    below = f"<p><em>{escape(caption)}</em></p>" if caption else ""
    image = f'<img src="data:image/png;base64,{picture}" width="{width}" alt="{escape(alt)}">'
    data = {"text/html": f"{image}{below}", "image/png": picture, "text/plain": f"{alt}\n{caption}".strip()}
    return data, {"image/png": {"alt": alt, "width": width}}
