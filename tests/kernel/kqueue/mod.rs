//! A model of kqueue over Linux descriptors.
