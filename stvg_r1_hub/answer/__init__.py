"""The model's text in, the answered IDs and time range out."""

from stvg_r1_hub.answer.parsing import ID_TOO_LONG, parse_answer, parse_time_answer

__all__ = ["ID_TOO_LONG", "parse_answer", "parse_time_answer"]
