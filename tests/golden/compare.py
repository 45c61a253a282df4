"""Comparing what we compute with a golden file's expected values."""

import math
from collections.abc import Mapping

TOLERANCE = 1e-9


class MalformedDataError(Exception):
    """A golden file that does not have the form its README describes."""


def need(record, field, where):
    """A field of a record, or a sentence that says what is missing."""
    if not isinstance(record, Mapping):
        raise MalformedDataError(f"{where} must be an object, got {type(record).__name__}")
    if field not in record:
        raise MalformedDataError(f"{where} lacks the field '{field}'")
    return record[field]


def cases_of(data, field, where):
    """A list of records of a golden file."""
    cases = need(data, field, where)
    if not isinstance(cases, list):
        raise MalformedDataError(f"'{field}' of {where} must be a list of cases")
    return cases


def unwrap(value):
    """Values that JSON cannot carry come as {"int_as_string": ...} or {"float_special": ...}."""
    if isinstance(value, Mapping):
        if set(value) == {"int_as_string"}:
            return int(value["int_as_string"])
        if set(value) == {"float_special"}:
            return float(value["float_special"])
        return {key: unwrap(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [unwrap(item) for item in value]
    return value


def differences(expected, got, path=""):
    """One sentence for every place where two JSON-like values differ; numbers within 1e-9."""
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        return [
            text
            for key in dict.fromkeys([*expected, *got])
            for text in (
                differences(expected[key], got[key], f"{path}.{key}")
                if key in expected and key in got
                else [f"{path}.{key}: only in {'expected' if key in expected else 'ours'}"]
            )
        ]
    if isinstance(expected, list | tuple) and isinstance(got, list | tuple):
        if len(expected) != len(got):
            return [f"{path}: expected {len(expected)} entries, got {len(got)}"]
        return [
            text
            for i, (a, b) in enumerate(zip(expected, got, strict=True))
            for text in differences(a, b, f"{path}[{i}]")
        ]
    if _same(expected, got):
        return []
    return [f"{path}: expected {str(expected)[:80]}, got {str(got)[:80]}"]


def _same(a, b):
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    if isinstance(a, int | float) and isinstance(b, int | float):
        both_nan = math.isnan(a) and math.isnan(b)
        return both_nan or a == b or math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(a) is type(b) and a == b
