//! Serial lines, on pseudo-terminals: what is written on one end is read on the other.

#![cfg(target_os = "linux")]

#[path = "util/os.rs"]
mod os_util;
#[path = "util/reactor.rs"]
mod util;

use std::os::unix::fs::symlink;
use std::task::{Poll, ready};
use std::time::Duration;

use netpoll::Unopened;
use netpoll::os::{DataBits, FlowControl, Parity, QueueSelector, SerialPort, SerialSettings, StopBits};
use netpoll::{AsFd, Context, Errno, Error, Handler, OwnedFd, Poller, Reactor, ReactorStorage};
use os_util::{
    Folder, ME, alone, assert_flags, assert_ownership, assert_passed, assert_times_out, assert_waits, block, expect_bytes, is_alone, open,
    open_path, pty, with_poller,
};
use rustix::fs::OFlags;
use rustix::io::{read, write};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, tcgetattr, tcgetsid, tcsetattr,
};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use util::{run_until, settle};

const SETTINGS: SerialSettings = SerialSettings::new(115_200);

fn settings(choose: impl FnOnce(&mut SerialSettings)) -> SerialSettings {
    let mut settings = SETTINGS;
    choose(&mut settings);
    settings
}

/// The wire's end, and an open port.
fn with_port<T>(settings: &SerialSettings, test: impl FnOnce(&mut Poller<'_>, OwnedFd, SerialPort) -> T) -> T {
    with_poller(|poller| {
        let (wire, name) = pty();
        let port = open(poller, SerialPort::open(&name, settings).unwrap());
        test(poller, wire, port)
    })
}

fn every_byte() -> Vec<u8> {
    (0..=255).collect()
}

// Every byte comes through, both ways, though pseudo-terminals begin as terminals of people; and nothing is echoed.
#[test]
fn raw_bytes() {
    with_port(&SETTINGS, |poller, wire, port| {
        let (mut heard, mut filled, mut sent) = (vec![0; 256], 0, 0);
        assert_waits(poller, |io| port.read(io, &mut [0; 8]));
        assert_eq!(write(&wire, &every_byte()), Ok(256));
        block(poller, |io| port.read_exact(io, &mut heard, &mut filled)).unwrap();
        assert_eq!(heard, every_byte());
        assert_eq!(read(&wire, &mut [0; 8]), Err(Errno::AGAIN));
        block(poller, |io| port.write_all(io, &every_byte(), &mut sent)).unwrap();
        expect_bytes(&wire, &every_byte());
        assert_waits(poller, |io| port.read(io, &mut [0; 8]));
    });
}

// What was received before is nobody's answer.
#[test]
fn what_came_before_is_discarded() {
    let (wire, name) = pty();
    let earlier = SerialPort::open(&name, &SETTINGS).unwrap(); // as whole lines only would count otherwise
    write(&wire, b"old").unwrap();
    wait_readable(&earlier);
    with_poller(|poller| {
        let port = open(poller, SerialPort::open(&name, &SETTINGS).unwrap());
        assert_waits(poller, |io| port.read(io, &mut [0; 8]));
        write(&wire, b"new").unwrap();
        let mut buf = [0; 8];
        assert_eq!(block(poller, |io| port.read(io, &mut buf)), Ok(3));
        assert_eq!(buf[..3], *b"new");
    });
}

#[track_caller]
fn wait_readable(fd: impl AsFd) {
    util::Probe::of(&fd).wait_readable();
}

// The terminal is what the manual's cfmakeraw(3) makes of it, and more, whatever it was.
#[test]
fn settings_in_effect() {
    let (_wire, name) = pty();
    let before = open_path(&name, OFlags::RDWR);
    let mut odd = tcgetattr(&before).unwrap();
    odd.input_modes = InputModes::all().difference(InputModes::IXON);
    odd.set_input_speed(300).unwrap();
    tcsetattr(&before, OptionalActions::Now, &odd).unwrap();
    assert_eq!(tcgetattr(&before).unwrap().input_speed(), 300);
    let wanted = settings(|settings| (settings.baud, settings.stop_bits) = (123_457, StopBits::Two));
    let port = SerialPort::open(&name, &wanted).unwrap();
    assert_flags(&port);
    let termios = tcgetattr(&port).unwrap();
    assert_eq!((termios.input_speed(), termios.output_speed()), (123_457, 123_457));
    assert_eq!(termios.input_modes, InputModes::empty());
    assert!(!termios.output_modes.contains(OutputModes::OPOST));
    let kinds = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG | LocalModes::IEXTEN;
    assert!(!termios.local_modes.intersects(kinds));
    assert!(termios.control_modes.contains(ControlModes::CS8 | ControlModes::CSTOPB | ControlModes::CREAD | ControlModes::CLOCAL));
    assert_eq!((termios.special_codes[SpecialCodeIndex::VMIN], termios.special_codes[SpecialCodeIndex::VTIME]), (1, 0));
    assert_eq!(SerialSettings::of(&port), Ok(wanted));
    assert_eq!(wanted.to_string(), "123457 8N2");
}

// Any rate that the driver takes, up to the largest number there is.
#[test]
fn every_rate() {
    with_port(&SETTINGS, |poller, _wire, port| {
        for baud in [1, 50, 110, 1200, 9600, 250_000, 4_000_000, 12_345_678, u32::MAX] {
            port.set(&mut poller.io(ME), &SerialSettings::new(baud)).unwrap();
            assert_eq!(port.settings(&mut poller.io(ME)), Ok(SerialSettings::new(baud)));
        }
    });
}

// What the driver leaves out can be asked for: a pseudo-terminal has 8 bits and no parity.
#[test]
fn what_the_driver_leaves_out() {
    let wanted = settings(|settings| {
        (settings.data_bits, settings.parity, settings.stop_bits) = (DataBits::Seven, Parity::Odd, StopBits::Two);
        settings.flow_control = FlowControl::RtsCts;
    });
    with_port(&wanted, |poller, _wire, port| {
        let chosen = settings(|settings| (settings.stop_bits, settings.flow_control) = (StopBits::Two, FlowControl::RtsCts));
        assert_eq!(port.settings(&mut poller.io(ME)), Ok(chosen));
        let fd = poller.io(ME).fd(port.token()).unwrap().try_clone_to_owned().unwrap();
        assert_eq!(tcgetattr(fd).unwrap().input_modes, InputModes::INPCK);
    });
}

// New settings are in effect at once, and none of them if one is nonsense.
#[test]
fn settings_anew() {
    with_port(&SETTINGS, |poller, _wire, port| {
        let slow = settings(|settings| (settings.baud, settings.flow_control) = (300, FlowControl::XonXoff));
        port.set(&mut poller.io(ME), &slow).unwrap();
        assert_eq!(port.settings(&mut poller.io(ME)), Ok(slow));
        assert_eq!(port.set(&mut poller.io(ME), &SerialSettings::new(0)), Err(Error::Os(Errno::INVAL)));
        assert_eq!(port.settings(&mut poller.io(ME)), Ok(slow));
    });
}

// What cannot be opened: nonsense is found before anything is opened, and what is no terminal says so.
#[test]
fn what_cannot_be_opened() {
    let folder = Folder::new();
    let refusal = |path: &std::path::Path, settings: SerialSettings| SerialPort::open(path, &settings).map(drop).unwrap_err().to_string();
    assert_eq!(refusal(&folder.path("missing"), SETTINGS), "no such file or directory");
    assert_eq!(refusal(&folder.path("missing"), SerialSettings::new(0)), "invalid argument");
    assert_eq!(refusal(&folder.file("file", b""), SETTINGS), "inappropriate ioctl for device");
    assert_eq!(refusal("/dev/null".as_ref(), SETTINGS), "inappropriate ioctl for device");
    assert_eq!(refusal(&folder.fifo("fifo"), SETTINGS), "inappropriate ioctl for device");
}

/// Does it as somebody who may not do everything.
fn unprivileged<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Those of one thread.
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::SYS_ADMIN | CapabilitySet::DAC_OVERRIDE);
            set_capabilities(None, sets).unwrap();
            act()
        });
        thread.join().unwrap()
    })
}

// Nobody else opens the device while it is kept to itself; and then it is free again.
#[test]
fn exclusive_use() {
    let (_wire, name) = pty();
    let another = || unprivileged(|| SerialPort::open(&name, &SETTINGS).map(drop));
    with_poller(|poller| {
        let port = open(poller, SerialPort::open(&name, &SETTINGS).unwrap());
        assert_eq!(another(), Ok(()));
        for _ in 0..2 {
            port.set_exclusive(&mut poller.io(ME), true).unwrap();
            assert_eq!(another(), Err(Error::Os(Errno::BUSY)));
            port.set_exclusive(&mut poller.io(ME), false).unwrap();
            assert_eq!(another(), Ok(()));
        }
    });
}

// A port does not become the terminal of a program that has none, whose signals it would then send.
#[test]
fn never_the_programs_own_terminal() {
    if !is_alone() {
        return assert_passed(&alone("never_the_programs_own_terminal").output().unwrap());
    }
    rustix::process::setsid().unwrap();
    let (_wire, name) = pty();
    let port = SerialPort::open(&name, &SETTINGS).unwrap();
    assert_eq!(tcgetsid(&port).unwrap_err(), Errno::NOTTY);
}

// Output that nobody takes waits, and goes on when somebody does.
#[test]
fn output_waits_for_room() {
    with_port(&SETTINGS, |poller, wire, port| {
        let mut total = 0;
        // The terminal takes what it was given from one buffer into another in its own time.
        let mut run = 1;
        while run > 0 {
            while let Poll::Ready(written) = port.write(&mut poller.io(ME), &[b'x'; 512]) {
                total += written.unwrap();
            }
            run = poller.poll(Duration::from_millis(20), |_| ()).unwrap().waiters;
        }
        assert_waits(poller, |io| port.write(io, b"y"));
        expect_bytes(&wire, &vec![b'x'; total]);
        assert_eq!(block(poller, |io| port.write(io, b"y")), Ok(1));
        expect_bytes(&wire, b"y");
    });
}

// XOFF holds output up and XON lets it go on; neither is data.
#[test]
fn output_is_held_up_by_xoff() {
    with_port(&settings(|settings| settings.flow_control = FlowControl::XonXoff), |poller, wire, port| {
        write(&wire, b"a\x13b").unwrap();
        let (mut heard, mut filled) = ([0; 2], 0);
        block(poller, |io| port.read_exact(io, &mut heard, &mut filled)).unwrap();
        assert_eq!(heard, *b"ab");
        assert_waits(poller, |io| port.write(io, b"x"));
        assert_times_out(poller, |io, after| port.set_write_timeout(io, after), |io| port.write(io, b"x"));
        port.set_write_deadline(&mut poller.io(ME), None).unwrap();
        write(&wire, b"\x11").unwrap();
        assert_eq!(block(poller, |io| port.write(io, b"x")), Ok(1));
        expect_bytes(&wire, b"x");
    });
}

#[test]
fn deadlines() {
    with_port(&SETTINGS, |poller, wire, port| {
        assert_times_out(poller, |io, after| port.set_read_timeout(io, after), |io| port.read(io, &mut [0; 8]));
        port.set_timeout(&mut poller.io(ME), Some(Duration::ZERO)).unwrap();
        assert_eq!(block(poller, |io| port.write(io, b"x")), Err(Error::TimedOut));
        write(&wire, b"late").unwrap();
        wait_readable(poller.io(ME).fd(port.token()).unwrap());
        assert_eq!(block(poller, |io| port.read(io, &mut [0; 8])), Err(Error::TimedOut));
        port.set_deadline(&mut poller.io(ME), None).unwrap();
        assert_eq!(block(poller, |io| port.read(io, &mut [0; 8])), Ok(4));
        assert_eq!(block(poller, |io| port.write(io, b"x")), Ok(1));
    });
}

#[test]
fn one_owner() {
    let (wire, name) = pty();
    assert_ownership(SerialPort::open(&name, &SETTINGS).unwrap(), SerialPort::token, |port, io| port.read(io, &mut [0; 8]));
    assert_ownership(SerialPort::open(&name, &SETTINGS).unwrap(), SerialPort::token, |port, io| port.write(io, b"x"));
    assert_ownership(SerialPort::open(&name, &SETTINGS).unwrap(), SerialPort::token, |port, io| {
        Poll::Ready(port.discard(io, QueueSelector::IOFlush))
    });
    drop(wire);
}

// Nothing is looked at and nothing waited for if nothing is offered.
#[test]
fn empty_buffers() {
    with_port(&SETTINGS, |poller, wire, port| {
        assert_waits(poller, |io| port.read(io, &mut [0; 8]));
        drop(wire);
        assert_eq!(port.read(&mut poller.io(ME), &mut []), Poll::Ready(Ok(0)));
        assert_eq!(port.write(&mut poller.io(ME), &[]), Poll::Ready(Ok(0)));
    });
}

#[test]
fn discarded_input_is_gone() {
    with_port(&SETTINGS, |poller, wire, port| {
        for queue in [QueueSelector::IFlush, QueueSelector::IOFlush] {
            write(&wire, b"noise").unwrap();
            wait_readable(poller.io(ME).fd(port.token()).unwrap());
            port.discard(&mut poller.io(ME), queue).unwrap();
            while poller.poll(Duration::ZERO, |_| ()).unwrap().waiters > 0 {}
            assert!(port.read(&mut poller.io(ME), &mut [0; 8]).is_pending());
        }
        write(&wire, b"data").unwrap();
        wait_readable(poller.io(ME).fd(port.token()).unwrap());
        port.discard(&mut poller.io(ME), QueueSelector::OFlush).unwrap();
        assert_eq!(block(poller, |io| port.read(io, &mut [0; 8])), Ok(4));
    });
}

// A pseudo-terminal has no wire to break: the call is made, and that is all that can be seen here.
#[test]
fn a_break_is_asked_for() {
    with_port(&SETTINGS, |poller, wire, port| {
        assert_eq!(port.send_break(&mut poller.io(ME)), Ok(()));
        drop(wire);
        // The line is gone when the last copy of the other end is: a child of another test may have one for a moment.
        assert_eq!(block(poller, |io| port.read(io, &mut [0; 8])), Err(Error::Os(Errno::IO)));
        assert_eq!(port.send_break(&mut poller.io(ME)), Err(Error::Os(Errno::IO)));
    });
}

// Whoever waits is run when the line is gone; everything says so from then on, and nothing spins on an end of file.
#[test]
fn unplugged() {
    with_port(&SETTINGS, |poller, wire, port| {
        assert_waits(poller, |io| port.read(io, &mut [0; 8]));
        drop(wire);
        let gone = Error::Os(Errno::IO);
        for _ in 0..3 {
            assert_eq!(block(poller, |io| port.read(io, &mut [0; 8])), Err(gone));
            assert_eq!(block(poller, |io| port.write(io, b"x")), Err(gone));
        }
        let io = &mut poller.io(ME);
        assert_eq!(port.set(io, &SETTINGS), Err(gone));
        assert_eq!(port.settings(io), Err(gone));
        assert_eq!(port.set_exclusive(io, true), Err(gone));
        assert_eq!(port.discard(io, QueueSelector::IOFlush), Err(gone));
        assert!(port.close(io).is_ok());
    });
}

// A writer that waits is run as well.
#[test]
fn unplugged_while_writing() {
    with_port(&SETTINGS, |poller, wire, port| {
        while port.write(&mut poller.io(ME), &[b'x'; 512]).is_ready() {}
        drop(wire);
        assert_eq!(block(poller, |io| port.write(io, b"x")), Err(Error::Os(Errno::IO)));
    });
}

/// The documentation's, with a name that is chosen here.
struct Scale {
    name: std::path::PathBuf,
    port: Option<SerialPort>,
    buf: [u8; 64],
}

#[derive(Default)]
struct Seen {
    heard: Vec<u8>,
    opened: u32,
    refused: u32,
}

const AGAIN: Duration = Duration::from_millis(5);

impl Handler for Scale {
    type Shared = Seen;
    type Error = Error;

    fn on_ready(&mut self, cx: &mut Context<'_, Self>) -> Poll<Result<(), Error>> {
        loop {
            while let Some(port) = &self.port {
                match ready!(port.read(cx, &mut self.buf)) {
                    Ok(n) => cx.shared().heard.extend_from_slice(&self.buf[..n]),
                    Err(_) => {
                        drop(port.close(cx));
                        self.port = None;
                    }
                }
            }
            match SerialPort::open(&self.name, &SETTINGS) {
                Ok(port) => {
                    self.port = Some(port.open(cx)?);
                    cx.shared().opened += 1;
                }
                Err(_) => {
                    cx.shared().refused += 1;
                    cx.set_timer_after(AGAIN);
                    return Poll::Pending;
                }
            }
        }
    }
}

// The documentation's handler comes back with the adapter, under the same name, as often as it is unplugged; and takes one look per period.
#[test]
fn unplugged_and_plugged_in_again() {
    let folder = Folder::new();
    let name = folder.path("tty");
    let mut storage = ReactorStorage::<Scale, 1, 1>::new();
    let mut reactor = Reactor::new(&mut storage).unwrap();
    reactor.spawn(Scale { name: name.clone(), port: None, buf: [0; 64] }).unwrap();
    let mut seen = Seen::default();
    for round in 1..=3 {
        let (start, before) = (std::time::Instant::now(), seen.refused);
        run_until(&mut reactor, &mut seen, |seen| seen.refused > before + 2);
        assert!(start.elapsed() >= AGAIN * 2, "it spins");
        assert_eq!(reactor.descriptors(), 0);
        let (wire, tty) = pty();
        symlink(tty, &name).unwrap();
        run_until(&mut reactor, &mut seen, |seen| seen.opened == round);
        write(&wire, b"42 kg\n").unwrap();
        run_until(&mut reactor, &mut seen, |seen| seen.heard.ends_with(b"\n"));
        assert_eq!(std::mem::take(&mut seen.heard), b"42 kg\n");
        let refused = seen.refused;
        settle(&mut reactor, &mut seen);
        assert_eq!(seen.refused, refused);
        std::fs::remove_file(&name).unwrap();
        drop(wire);
    }
}

// A line made elsewhere: refused while it blocks, a port when it does not. Here both ends of a wire are ports.
#[test]
fn made_elsewhere() {
    let (wire, name) = pty();
    rustix::io::ioctl_fionbio(&wire, false).unwrap();
    with_poller(|poller| {
        let far = open(poller, SerialPort::open(&name, &SETTINGS).unwrap());
        let rejected = Unopened::<SerialPort>::from(wire).open(&mut poller.io(ME)).unwrap_err();
        assert_eq!(rejected.error, Error::Os(Errno::INVAL));
        let wire = OwnedFd::from(rejected.value);
        rustix::io::ioctl_fionbio(&wire, true).unwrap();
        SETTINGS.apply(&wire).unwrap();
        let near = open(poller, Unopened::<SerialPort>::from(wire));
        let mut buf = [0; 8];
        for (from, to) in [(&near, &far), (&far, &near)] {
            assert_eq!(block(poller, |io| from.write(io, b"hello")), Ok(5));
            assert_eq!(block(poller, |io| to.read(io, &mut buf)), Ok(5));
            assert_eq!(buf[..5], *b"hello");
        }
    });
}
