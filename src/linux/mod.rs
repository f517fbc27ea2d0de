//! Descriptors that only Linux has: time, children, files and devices as things to wait for.
