"""The golden data: expected values computed with the official code, and what checks them."""
