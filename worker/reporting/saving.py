"""Saving notebooks in JupyterLab: without outputs, which hold people's data and are committed by accident."""

from typing import Any


def without_outputs(*, model: dict[str, Any], **_: object) -> None:
    """Remove the outputs from a notebook that is about to be saved; other files stay as they are.

    The page that is open still shows them.
    """
    if model["type"] != "notebook":
        return
    for cell in model["content"]["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
