//! Pipes, a FIFO, a serial line, shared input: what has no `MSG_DONTWAIT`.

use netpoll::linux::{Input, Output};
use netpoll::os::{PipeReader, PipeWriter, QueueSelector, SerialPort, SerialSettings, pipe};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::life::ME;
use crate::util;

pub fn live() {
    let folder = super::Folder::new();
    let fifo = folder.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let (master, slave) = util::pty();
    let line = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let (shared_reader, shared_writer) = util::pipe();
    let (shared_socket, _peer) = util::socket_pair();
    super::on_poller(|told, poller| {
        let mut buf = [0; 8];
        let (reader, writer) = told.again("pipe", pipe);
        let (reader, writer) = (told.open(poller, reader), told.open(poller, writer));
        told.wait(poller, "write", |io| writer.write(io, b"x"));
        told.wait(poller, "read", |io| reader.read(io, &mut buf));
        for token in [writer.token(), reader.token()] {
            drop(poller.io(ME).close(token).unwrap());
        }

        let reader = told.again("open_fifo", || PipeReader::open_fifo(fifo.as_str()));
        let writer = told.again("open_fifo", || PipeWriter::open_fifo(fifo.as_str()));
        drop((reader, writer));

        let settings = SerialSettings::new(9600);
        let port = told.again("serial", || SerialPort::open(&*line, &settings));
        let port = told.open(poller, port);
        told.again("exclusive", || port.set_exclusive(&mut poller.io(ME), true));
        told.again("exclusive", || port.set_exclusive(&mut poller.io(ME), false));
        told.again("set", || port.set(&mut poller.io(ME), &settings));
        told.again("settings", || port.settings(&mut poller.io(ME)));
        told.again("discard", || port.discard(&mut poller.io(ME), QueueSelector::IOFlush));
        told.again("send_break", || port.send_break(&mut poller.io(ME)));
        assert_eq!(told.wait(poller, "write", |io| port.write(io, b"x")), 1);
        drop(poller.io(ME).close(port.token()).unwrap());

        let input = told.again("reopen", || Input::reopen(&shared_reader));
        let output = told.again("reopen", || Output::reopen(&shared_writer));
        drop(told.again("reopen", || Input::reopen(&shared_socket)));
        let (input, output) = (told.open(poller, input), told.open(poller, output));
        told.wait(poller, "write", |io| output.write(io, b"y"));
        told.wait(poller, "read", |io| input.read(io, &mut buf));
        assert_eq!(buf[0], b'y');
        for token in [input.token(), output.token()] {
            drop(poller.io(ME).close(token).unwrap());
        }
    });
    drop((master, slave));
}
