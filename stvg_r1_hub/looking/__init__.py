"""More than one look at a video: which stretch, which objects, and what stands in the end.

The paper's model looks once, at the whole clip with a number on every object. This room asks the
same model again where that may pay; docs/looking.md says what each look is worth.
"""

from stvg_r1_hub.looking.answers import Response, Seen
from stvg_r1_hub.looking.policy import PASSES, Looker, check_passes
from stvg_r1_hub.looking.stretches import is_long
from stvg_r1_hub.looking.views import drawn_numbers

__all__ = ["PASSES", "Looker", "Response", "Seen", "check_passes", "drawn_numbers", "is_long"]
