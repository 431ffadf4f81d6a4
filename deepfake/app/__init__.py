"""The local web page: uploads in, a queue of them, one process that judges, answers out."""
