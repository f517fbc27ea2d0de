//! Hostile peers: each test lets them loose on a server with small tables while a polite client asks and asks, and holds that
//!
//! * every request of the polite client is answered, and rightly: one that was there before a pass began is answered in it, or soon after;
//! * no run of a handler makes more calls than its budget, no pass runs a handler twice, nobody is accepted to be turned away;
//! * memory is what the tables take: the server's thread allocates nothing while it runs, and the process does not grow;
//! * afterwards all is as it was: no descriptor and no place is lost, and the loop rests.
//!
//! How long the polite client waited is printed, a row for each situation, as in the README:
//!
//! ```sh
//! cargo test --test hostile -- --nocapture
//! ```
//!
//! That slots and places whose generations are used up are retired takes 2³² connections: the unit tests of `table` and `reactor` force it.

#![cfg(target_os = "linux")]

#[path = "util/allocator.rs"]
mod allocator;
#[path = "hostile/client.rs"]
mod client;
#[path = "hostile/clock.rs"]
mod clock;
#[path = "hostile/crowd.rs"]
mod crowd;
#[path = "hostile/datagrams.rs"]
mod datagrams;
#[path = "hostile/exhaustion.rs"]
mod exhaustion;
#[path = "hostile/flood.rs"]
mod flood;
#[path = "hostile/half_open.rs"]
mod half_open;
#[path = "hostile/journal.rs"]
mod journal;
#[path = "hostile/loris.rs"]
mod loris;
#[path = "util/network.rs"]
mod network;
#[path = "hostile/polite.rs"]
mod polite;
#[path = "hostile/programs.rs"]
mod programs;
#[path = "hostile/report.rs"]
mod report;
#[path = "hostile/resets.rs"]
mod resets;
#[path = "hostile/reuse.rs"]
mod reuse;
#[path = "hostile/server.rs"]
mod server;
#[path = "hostile/siege.rs"]
mod siege;
#[path = "hostile/signals.rs"]
mod signals;
#[path = "hostile/tiny.rs"]
mod tiny;
mod util;
#[path = "hostile/wakes.rs"]
mod wakes;
#[path = "hostile/zero_window.rs"]
mod zero_window;
