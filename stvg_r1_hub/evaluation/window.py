"""The part of a file that a benchmark means, where it cuts its clips in time."""

from __future__ import annotations

from stvg_r1_hub.errors import AnnotationError, VideoError
from stvg_r1_hub.video import PartSource, VideoSource


class WindowSource(PartSource):
    """The annotated part of a video; see `video.PartSource`."""

    def __init__(self, source: VideoSource, start_seconds: float, end_seconds: float) -> None:
        """Wrap an open source, which stays open until this one is closed.

        Raises:
            AnnotationError: fewer than two frames lie in the range.
        """
        # Annotated bounds are rounded; a frame that is off by a hair still belongs.
        hair = 1e-3
        try:
            super().__init__(source, max(0.0, start_seconds - hair), end_seconds - hair)
        except VideoError as error:
            raise AnnotationError(
                f"The annotated part does not fit {source.info.name}, so use the video that was "
                f"annotated: {error}"
            ) from error
