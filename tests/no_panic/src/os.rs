use core::ffi::CStr;

use netpoll::os::{self, PipeReader, PipeWriter, SerialPort, SerialSettings};
use netpoll::{BorrowedFd, Unopened};

use crate::{functions, methods};

pub fn take_all() {
    methods! {
        PipeReader: read 3, read_exact 4, set_read_deadline 3, set_read_timeout 3, token 1, close 2;
        PipeWriter: write 3, write_all 4, set_write_deadline 3, set_write_timeout 3, token 1, close 2;
        SerialPort: read 3, read_exact 4, write 3, write_all 4, settings 2, set 3, set_exclusive 3, discard 3, send_break 2, set_deadline 3,
            set_timeout 3, set_read_deadline 3, set_read_timeout 3, set_write_deadline 3, set_write_timeout 3, token 1, close 2;
        SerialSettings: new 1, time_of 2;
        Unopened<PipeReader>: open 2;
        Unopened<PipeWriter>: open 2;
        Unopened<SerialPort>: open 2;
    }
    functions! {
        os::pipe as fn() -> _;
        PipeReader::open_fifo as fn(&'static CStr) -> _;
        PipeReader::open_fifo as fn(&'static str) -> _;
        PipeReader::open_fifo_read_write as fn(&'static CStr) -> _;
        PipeReader::open_fifo_read_write as fn(&'static str) -> _;
        PipeWriter::open_fifo as fn(&'static CStr) -> _;
        PipeWriter::open_fifo as fn(&'static str) -> _;
        SerialPort::open as fn(&'static CStr, _) -> _;
        SerialPort::open as fn(&'static str, _) -> _;
        SerialSettings::apply as fn(_, BorrowedFd<'static>) -> _;
        SerialSettings::of as fn(BorrowedFd<'static>) -> _;
    }
}
