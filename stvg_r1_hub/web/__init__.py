"""The page: a video and a description in, where and when out; `app.py` and `stvg app` start it.

    limits    what an upload may be, checked before this process decodes it
    models    the models and trackers that the page offers, loaded once
    zerogpu   the language model on a GPU that is lent for seconds; tracking and masks there are
              in zerogpu_tracking
    jobs      long work in a thread: progress out, cancelling in; a line to wait in
    grounding one question asked of one upload -> files and HTML
    markup    values -> escaped HTML
    layout    the widgets and where they stand
    updates   what events yield, sent whole
    page      what the widgets do
    api       the same for programs
    launching the server around it

Needs the extra `app`: `pip install 'stvg-r1-hub[app]'`.
"""

from stvg_r1_hub.web.launching import launch

__all__ = ["launch"]
