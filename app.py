"""The Space: run with `python app.py`, or `stvg app` from an installed package."""

try:
    import spaces  # noqa: F401  (ZeroGPU wants it before anything that could start CUDA)
except ImportError:
    pass  # Only a ZeroGPU Space needs it.

from stvg_r1_hub.web import launch

if __name__ == "__main__":
    launch()
