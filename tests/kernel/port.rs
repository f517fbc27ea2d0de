//! A model of event ports over Linux descriptors.
