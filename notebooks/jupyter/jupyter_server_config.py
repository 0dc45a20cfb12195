"""JupyterLab as `keypool reports lab` starts it: notebooks are saved without their outputs."""

from worker import reporting

c = get_config()  # type: ignore[name-defined]  # noqa: F821  # Jupyter defines it
c.ContentsManager.pre_save_hook = reporting.without_outputs
