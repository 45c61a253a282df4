"""Readers of annotated benchmarks: a layout on disk in, `AnnotatedSample`s out."""
