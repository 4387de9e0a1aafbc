"""The backing directory: synchronous and descriptor-relative."""
