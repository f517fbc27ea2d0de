//! The handlers of this program: one type, and which is which.

use crate::client::Client;
use crate::control::Control;
use crate::line::Line;
use crate::listener::Listener;
use crate::meter::Meter;
use crate::queue::Queue;
use core::fmt;
use core::task::Poll;
use netpoll::{Context, Error, Handler};
use std::io::{Write, stderr};

pub type Cx<'a> = Context<'a, App>;

pub enum App {
    Control(Control),
    Listener(Listener),
    Client(Client),
    Line(Line),
    Meter(Meter),
}

impl Handler for App {
    type Shared = Queue;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Cx<'_>) -> Poll<Result<(), Error>> {
        match self {
            App::Control(control) => control.on_ready(cx),
            App::Listener(listener) => listener.on_ready(cx),
            App::Client(client) => client.on_ready(cx),
            App::Line(line) => line.on_ready(cx),
            App::Meter(meter) => meter.on_ready(cx),
        }
    }

    fn on_error(&mut self, error: Error, cx: &mut Cx<'_>) {
        if let App::Client(_) = self {
            return; // clients come and go, and are counted
        }
        report(format_args!("{error}"));
        cx.shared().failed = true;
        cx.stop();
    }
}

/// Says something on standard error. Nobody may be there to read it, and that is no reason to end.
pub fn report(what: fmt::Arguments<'_>) {
    let _ = writeln!(stderr(), "modbus gateway: {what}");
}
