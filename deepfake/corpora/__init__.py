"""A dataset's folders to Video records; the only place where a label comes from a path."""
