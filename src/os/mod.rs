//! Descriptors other than sockets that every Unix has: pipes, terminals.
