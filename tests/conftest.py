"""Settings shared by all tests: no network, one thread, and media made on the spot."""

import os

# Set before anything imports huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
# Threads that share a tiny tensor mostly wait for one another. Programs started here inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
