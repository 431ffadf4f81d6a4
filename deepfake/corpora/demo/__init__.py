"""The demo corpus: talking heads that the project draws itself, real and faked, so that nothing is downloaded."""
