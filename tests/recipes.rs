//! The small examples that put foreign descriptors on the reactor, run as processes, against real peers where this machine has any.

#[path = "util/example.rs"]
mod example;
#[path = "recipes/program.rs"]
mod program;

// One file for each of them.
#[path = "recipes/can_log.rs"]
mod can_log;
#[path = "recipes/dns_lookup.rs"]
mod dns_lookup;
#[path = "recipes/gpio_watch.rs"]
mod gpio_watch;
#[path = "recipes/inherited.rs"]
mod inherited;
#[path = "recipes/pipe_filter.rs"]
mod pipe_filter;
#[path = "recipes/rs485.rs"]
mod rs485;
#[path = "recipes/signals.rs"]
mod signals;
#[path = "recipes/watchdog.rs"]
mod watchdog;
