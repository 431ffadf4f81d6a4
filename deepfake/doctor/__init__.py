"""What a bug report needs to say: versions, machine, decoders, limits; without whatever is private."""
